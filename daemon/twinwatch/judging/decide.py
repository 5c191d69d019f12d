"""Facts to an outcome. Pure: it reads no file and no catalogue, and changes nothing."""

from __future__ import annotations

import errno

from twinwatch.errors import UnreadableError
from twinwatch.judging.facts import Facts
from twinwatch.judging.outcomes import (
    Duplicate,
    Gone,
    HardLink,
    Kept,
    Outcome,
    Renamed,
    SearchNeeded,
    SearchResult,
    SettleAgain,
    Superseded,
    Unchanged,
    Unreadable,
)
from twinwatch.judging.policy import Finding, RootRules, decide_action
from twinwatch.store import Content, FileState
from twinwatch.workers import FileChanged, FileGone, WorkerCrashed


def decide(facts: Facts | None, search: SearchResult | None, rules: RootRules, evidence_level: float) -> Outcome:
    """Return what comes of a file. `search` is None before an original was looked for.

    Raises the worker's failure where the file has to wait for better times.
    """
    if facts is None:
        return Superseded()
    asked = facts.arrival.file
    if search is None and (facts.file.path, facts.file.identity) != (asked.path, asked.identity):
        return Superseded()  # changed or renamed since a worker read it: what it is now waits in the queue
    if facts.content is None or facts.identity is None:
        return _failed(facts)
    if search is not None:
        return _searched(facts, facts.content, search, rules, evidence_level)
    if facts.file.state is not FileState.NEW and facts.file.content_id == facts.content.id:
        return Unchanged(facts.state_before)
    known = _known(facts)
    if known is not None:
        return known
    return SearchNeeded() if facts.content.reason is None else Unreadable(facts.content.reason)


def _failed(facts: Facts) -> Outcome:
    failure = facts.arrival.failure
    match failure:
        case FileGone():
            return Gone()
        case FileChanged():
            return SettleAgain()
        case WorkerCrashed() | UnreadableError():
            return Unreadable(str(failure))
        case OSError(errno=errno.EIO):
            return Unreadable("the disk cannot read it (input/output error)")
        case None:
            return Superseded()
        case _:
            raise failure


def _known(facts: Facts) -> Outcome | None:
    """Return HardLink or Renamed for a known file under another name; None where no other name tells."""
    for other in facts.other_names:
        if other.is_there:
            if other.file.state is FileState.LINK:  # no original itself, as are all names but one
                continue
            return HardLink()
        return Renamed(other.file.id, other.state)
    return None


def _searched(facts: Facts, content: Content, search: SearchResult, rules: RootRules, evidence_level: float) -> Outcome:
    if facts.file.identity != facts.identity:
        return Superseded()
    original = search.original
    if original is None:
        return Kept(search)
    finding = Finding(
        kind=original.kind,
        evidence=None if original.evidence is None else original.evidence.score,
        only_by_bytes=content.blank or original.content.blank,
        new_pixels=content.width * content.height,
        original_pixels=original.content.width * original.content.height,
        preexisting=facts.file.preexisting,
        links=facts.identity.links,
    )
    decision = decide_action(finding, rules, evidence_level)
    return Kept(search) if decision is None else Duplicate(original, decision, search)
