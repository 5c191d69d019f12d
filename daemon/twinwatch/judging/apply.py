"""Carries out outcomes: the only place in judging that writes to the catalogue, commits and moves files."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import replace

import structlog

from twinwatch.clock import utc_now
from twinwatch.fs import join
from twinwatch.judging.facts import Arrival, Facts
from twinwatch.judging.missing import MissingOriginals
from twinwatch.judging.moving import MoveResult, move_copy
from twinwatch.judging.outcomes import (
    Duplicate,
    Gone,
    HardLink,
    Kept,
    Outcome,
    Renamed,
    SearchNeeded,
    SettleAgain,
    Superseded,
    Unchanged,
    Unreadable,
)
from twinwatch.judging.watched_root import WatchedRoot, WatchedRoots
from twinwatch.search import Bundle
from twinwatch.store import ORIGINAL_STATES, Action, Content, File, FileState, Store, Verdict
from twinwatch.wording import show_path
from twinwatch.workers import Inspection

_log = structlog.get_logger("twinwatch")


class Applier:
    """Writes to one store. Nothing counts before the store's `commit`."""

    def __init__(self, store: Store, bundle: Bundle, roots: WatchedRoots) -> None:
        self._store = store
        self._bundle = bundle
        self._roots = roots
        self._missing = MissingOriginals(store, bundle, roots)

    def remember(self, arrival: Arrival) -> Content | None:
        """Record what a worker and the encoder made of some bytes; None where the worker failed."""
        seen = arrival.inspection
        if seen is None:
            return None
        content = self._store.contents.by_sha256(seen.sha256)
        if content is None or seen.picture is not None or seen.reason is not None:
            content = self._store.contents.add(content_of(seen))
        if arrival.embedding is not None:
            self._store.contents.add_embedding(content.id, self._bundle.id, arrival.embedding)
        return content

    def apply(self, outcome: Outcome, facts: Facts | None) -> bool:
        """Carry out what was decided; False where the file stays queued, to be judged again in a while.

        Raises RootOffline, StorageError.
        """
        match outcome:
            case Superseded():
                return True
            case Duplicate() if facts is not None:
                return self._duplicate(facts, outcome)
            case _ if facts is not None:
                self._record(facts, outcome)
                return True
        raise AssertionError(f"{outcome} is about no file")

    def forget(self, file: File) -> None:
        """Note that a file is gone from its path, also where a copy of it was kept meanwhile."""
        self._store.files.mark_gone(file.id)
        self._missing.add(file.id, time.time_ns())
        if file.content_id is not None:
            self._store.queue.rejudge_links(file.content_id)

    def set_aside(self, file: File, reason: str) -> None:
        """Leave a file alone until the next scan, which will find it changed. What was known of it stays known."""
        if file.state in (FileState.NEW, FileState.UNREADABLE):
            self._store.files.mark_unreadable(file.id, reason, forget_content=True)
        self._store.files.invalidate(file.id)

    def look_for_missing(self) -> None:
        """Let files be judged again whose missing originals are in place again. Raises OSError."""
        self._missing.look()

    def _record(self, facts: Facts, outcome: Outcome) -> None:
        file, store = facts.file, self._store
        match outcome:
            case Gone():
                self.forget(file)
            case SettleAgain():
                self._roots.require(file.root_id)
                store.queue.settle_changed(file.id)
            case Unreadable(reason):
                self._unreadable(facts, reason)
            case Unchanged(state):
                self._unchanged(facts, state)
            case HardLink() if facts.identity is not None and facts.content is not None:
                store.files.mark_link(file.id, facts.identity, facts.content.id)
            case Renamed():
                self._renamed(facts, outcome)
            case SearchNeeded():
                self._begin(facts)
                # Evidence takes long, so nothing may be locked meanwhile. The file stays queued until its outcome.
                store.commit()
            case Kept():
                self._kept(facts, outcome)

    def _begin(self, facts: Facts) -> None:
        """Note the bytes that are being judged; what was judged at this path before were other bytes."""
        assert facts.identity is not None and facts.content is not None
        self._missing.remove(facts.file.id)
        self._store.files.begin(facts.file.id, facts.identity, facts.content.id, time.time_ns())

    def _unreadable(self, facts: Facts, reason: str) -> None:
        file = facts.file
        if facts.content is not None:
            self._begin(facts)
            self._store.files.mark_unreadable(file.id, reason)
        else:
            # What it was judged to be holds again once the same bytes can be read again.
            self._store.files.mark_unreadable(file.id, reason, forget_content=file.state is FileState.NEW)
        _log.warning("not readable as a picture", path=self._roots.show(file.root_id, file.path), why=reason)

    def _unchanged(self, facts: Facts, state: FileState) -> None:
        assert facts.identity is not None and facts.content is not None
        self._store.files.confirm(facts.file.id, facts.identity, state)
        if state in ORIGINAL_STATES:
            self._missing.found(facts.file.id, facts.content)

    def _renamed(self, facts: Facts, outcome: Renamed) -> None:
        file, queued = facts.file, outcome.state is FileState.NEW
        assert facts.identity is not None and facts.content is not None
        known = self._store.files.get(outcome.known_id)
        self._store.files.place(outcome.known_id, file.root_id, file.path, facts.identity, outcome.state, queued)
        if outcome.state in ORIGINAL_STATES:
            self._missing.found(outcome.known_id, facts.content)
        if known is not None and not queued:
            _log.debug("renamed", path=self._roots.show(file.root_id, file.path), before=show_path(known.path))

    def _kept(self, facts: Facts, outcome: Kept) -> None:
        assert facts.content is not None
        file, content, search = facts.file, facts.content, outcome.search
        self._store.files.mark_kept(file.id)
        for file_id in search.missing:
            self._missing.add(file_id, file.judged_ns or time.time_ns())
        self._settle(search.displaced)
        _log.debug("kept", path=self._roots.show(file.root_id, file.path), size=f"{content.width}x{content.height}")
        for file_id in search.overtaken:
            later = self._store.files.get(file_id)
            if later is not None and later.state is FileState.KEPT:  # it may be a copy of this file
                self._store.queue.rejudge(file_id)

    def _settle(self, displaced: frozenset[int]) -> None:
        for file_id in displaced:
            self._store.queue.settle(file_id)

    def _duplicate(self, facts: Facts, outcome: Duplicate) -> bool:
        root = self._roots.require(facts.file.root_id)
        verdict = self._verdict_of(facts, outcome, root)
        self._store.verdicts.add(verdict)
        moved = MoveResult(flag_reason=outcome.decision.flag_reason)
        if verdict.action is Action.QUARANTINED:
            assert root.quarantine is not None and facts.identity is not None  # the policy said so
            self._store.commit()  # on record before the file is moved
            moved = move_copy(root.quarantine, verdict, facts.identity, self._bundle.id)
            if moved == MoveResult():
                self._store.verdicts.drop(verdict.id)
                return False
        action = Action.FLAGGED if moved.flag_reason else Action.QUARANTINED
        self._store.verdicts.mark_done(verdict.id, action, moved.quarantined_to)
        self._settle(outcome.search.displaced)
        if action is Action.FLAGGED:
            self._store.files.mark_duplicate(facts.file.id)
        else:
            self._store.files.mark_quarantined(facts.file.id)
        self._trip_if_needed(facts.file.root_id, root, moved)
        _log_duplicate(replace(verdict, action=action), moved.flag_reason)
        return True

    def _verdict_of(self, facts: Facts, outcome: Duplicate, root: WatchedRoot) -> Verdict:
        """Return what is to be remembered of a copy, under a new id."""
        assert facts.content is not None
        original, decision = outcome.original, outcome.decision
        return Verdict(
            id=uuid.uuid4().hex,
            file_id=facts.file.id,
            time=utc_now(),
            root=os.fsencode(root.path),
            path=facts.file.path,
            sha256=facts.content.sha256,
            original_root=os.fsencode(self._roots.require(original.file.root_id).path),
            original_path=original.file.path,
            original_sha256=original.content.sha256,
            kind=original.kind,
            distance=original.distance,
            cluster=original.cluster,
            evidence=None if original.evidence is None else original.evidence.score,
            edit="" if original.evidence is None else original.evidence.edit,
            action=decision.action,
            better=decision.better,
        )

    def _trip_if_needed(self, root_id: int, root: WatchedRoot, moved: MoveResult) -> None:
        """Open the root's circuit breaker after a fault, or after too many moves."""
        reason = moved.fault
        if not moved.flag_reason:
            reason = root.breaker.record_move(time.monotonic(), lambda: self._store.files.count(root_id))
        if reason:
            self._store.roots.trip(root_id, reason, utc_now())
            _log.error("quarantine is off until `twinwatch resume`", root=str(root.path), why=reason)


def content_of(seen: Inspection) -> Content:
    """Return what a worker saw, as it is to be added to the store."""
    picture = seen.picture
    return Content(
        id=0,
        sha256=seen.sha256,
        size_bytes=seen.identity.size_bytes,
        reason=seen.reason,
        width=picture.width if picture else 0,
        height=picture.height if picture else 0,
        format=picture.format if picture else "",
        blank=picture is not None and (picture.blank or picture.multi_frame),
    )


def _log_duplicate(verdict: Verdict, flag_reason: str) -> None:
    _log.info(
        "duplicate",
        path=show_path(join(verdict.root, verdict.path)),
        duplicate_of=show_path(join(verdict.original_root, verdict.original_path)),
        kind=verdict.kind.value,
        distance=None if verdict.distance is None else round(verdict.distance, 3),
        evidence=None if verdict.evidence is None else round(verdict.evidence, 3),
        edit=verdict.edit or None,
        action=verdict.action.value,
        why=flag_reason or None,
        id=verdict.id,
    )
