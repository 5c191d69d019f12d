"""Facts to outcomes, as a table: no file, catalogue or process is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twinwatch.errors import UnreadableError
from twinwatch.evidence import Evidence
from twinwatch.fs import FileIdentity
from twinwatch.judging.candidates import Candidate
from twinwatch.judging.decide import decide
from twinwatch.judging.facts import Arrival, Facts, OtherName
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
from twinwatch.judging.policy import RootRules
from twinwatch.store import Action, Content, File, FileState, Kind
from twinwatch.workers import FileChanged, FileGone, FileRef, RootOffline, WorkerCrashed, WorkerKilled

SEEN = FileIdentity(1, 2, 300, 10**18, 10**18, 1)
FILE = File(1, 1, b"a.jpg", SEEN, None, FileState.NEW, preexisting=False)
PICTURE = Content(7, "aa", 300, None, 640, 480, "JPEG", blank=False)
ARRIVAL = Arrival(FILE, FileRef(Path("/srv"), (1, 2), b"a.jpg"), None, None)
FACTS = Facts(ARRIVAL, FILE, PICTURE, SEEN)
ORIGINAL = Candidate(replace(FILE, id=2, path=b"b.jpg"), replace(PICTURE, id=8, sha256="bb"), Kind.EXACT)
MOVE = RootRules(quarantine=True, protect=False)
LEVEL = 0.6


def decided(facts: Facts | None, search: SearchResult | None = None, rules: RootRules = MOVE) -> Outcome:
    return decide(facts, search, rules, LEVEL)


def failed(failure: BaseException | None, **file: Any) -> Facts:
    return Facts(replace(ARRIVAL, failure=failure), replace(FILE, **file))


def other(state: FileState, is_there: bool, was: FileState = FileState.KEPT) -> OtherName:
    return OtherName(replace(FILE, id=9, path=b"old.jpg", content_id=7, state=state, judged_ns=5), was, is_there)


def near(score: float | None) -> SearchResult:
    evidence = None if score is None else Evidence(score, "flipped")
    return SearchResult(replace(ORIGINAL, kind=Kind.NEAR, distance=0.2, evidence=evidence))


def test_a_file_that_has_left_its_path_is_superseded() -> None:
    assert decided(None) == Superseded()


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        (failed(FileGone()), Gone()),
        (failed(FileGone(), path=b"elsewhere.jpg"), Superseded()),
        (failed(FileGone(), identity=replace(SEEN, mtime_ns=1)), Superseded()),
        (failed(UnreadableError("damaged"), identity=replace(SEEN, mtime_ns=1)), Superseded()),
        (failed(FileChanged()), SettleAgain()),
        (failed(WorkerCrashed("crashed the decoder")), Unreadable("crashed the decoder")),
        (failed(UnreadableError("no rights")), Unreadable("no rights")),
        (failed(OSError(5, "Input/output error")), Unreadable("the disk cannot read it (input/output error)")),
        (failed(None), Superseded()),
    ],
)
def test_what_a_worker_could_not_read(facts: Facts, outcome: Outcome) -> None:
    assert decided(facts) == outcome


@pytest.mark.parametrize("failure", [RootOffline("away"), OSError(24, "Too many open files"), WorkerKilled("killed")])
def test_what_passes_by_itself_is_raised(failure: Exception) -> None:
    with pytest.raises(type(failure)):
        decided(failed(failure))


@pytest.mark.parametrize("state", [FileState.KEPT, FileState.DUPLICATE, FileState.RESTORED, FileState.UNREADABLE])
def test_the_same_content_at_the_same_path_is_what_it_was(state: FileState) -> None:
    facts = replace(FACTS, file=replace(FILE, state=state, content_id=7), state_before=FileState.KEPT)
    assert decided(facts) == Unchanged(FileState.KEPT)


def test_a_new_file_has_to_be_searched_for_though_its_content_is_noted_already() -> None:
    assert decided(replace(FACTS, file=replace(FILE, content_id=7))) == SearchNeeded()


def test_other_content_at_a_known_path_is_new() -> None:
    assert decided(replace(FACTS, file=replace(FILE, state=FileState.KEPT, content_id=6))) == SearchNeeded()


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        ([other(FileState.KEPT, True)], HardLink()),
        ([other(FileState.KEPT, False)], Renamed(9, FileState.KEPT)),
        ([other(FileState.GONE, False, FileState.DUPLICATE)], Renamed(9, FileState.DUPLICATE)),
        ([other(FileState.NEW, False, FileState.NEW)], Renamed(9, FileState.NEW)),
        ([other(FileState.LINK, False, FileState.NEW)], Renamed(9, FileState.NEW)),
        ([other(FileState.LINK, True)], SearchNeeded()),
        ([other(FileState.LINK, True), other(FileState.KEPT, True)], HardLink()),
        ([], SearchNeeded()),
    ],
)
def test_another_name_of_a_known_file(names: list[OtherName], outcome: Outcome) -> None:
    assert decided(replace(FACTS, other_names=tuple(names))) == outcome


@pytest.mark.parametrize("file", [{"identity": replace(SEEN, mtime_ns=1)}, {"path": b"elsewhere.jpg"}])
def test_what_was_changed_or_renamed_since_it_was_read_waits_in_the_queue(file: dict[str, Any]) -> None:
    assert decided(replace(FACTS, file=replace(FILE, **file))) == Superseded()


def test_what_is_no_picture_needs_no_search() -> None:
    assert decided(replace(FACTS, content=replace(PICTURE, reason="damaged"))) == Unreadable("damaged")


def test_without_an_original_it_is_kept() -> None:
    search = SearchResult(missing=frozenset({3}), overtaken=frozenset({4}))
    assert decided(FACTS, search) == Kept(search)


def test_a_file_that_was_changed_during_the_search_is_superseded() -> None:
    facts = replace(FACTS, file=replace(FILE, identity=replace(SEEN, mtime_ns=1)))
    assert decided(facts, SearchResult(ORIGINAL)) == Superseded()


@pytest.mark.parametrize(("score", "is_copy"), [(0.6, True), (0.59, False), (None, False)])
def test_a_near_original_needs_evidence(score: float | None, is_copy: bool) -> None:
    assert isinstance(decided(FACTS, near(score)), Duplicate if is_copy else Kept)


@pytest.mark.parametrize("which", ["file", "original"])
def test_blank_pictures_are_copies_by_equal_bytes_only(which: str) -> None:
    facts, search = FACTS, near(1.0)
    assert search.original is not None
    if which == "file":
        facts = replace(FACTS, content=replace(PICTURE, blank=True))
    else:
        blank = replace(search.original.content, blank=True)
        search = replace(search, original=replace(search.original, content=blank))
    assert isinstance(decided(facts, search), Kept)
    assert isinstance(decided(facts, SearchResult(ORIGINAL)), Duplicate)


@pytest.mark.parametrize(
    ("facts", "rules", "action"),
    [
        (FACTS, MOVE, Action.QUARANTINED),
        (replace(FACTS, file=replace(FILE, preexisting=True)), MOVE, Action.FLAGGED),
        (replace(FACTS, file=replace(FILE, identity=replace(SEEN, links=2)), identity=replace(SEEN, links=2)), MOVE,
         Action.FLAGGED),
        (FACTS, RootRules(quarantine=False, protect=False), Action.FLAGGED),
        (FACTS, RootRules(quarantine=True, protect=True), Action.FLAGGED),
        (FACTS, RootRules(quarantine=True, protect=False, tripped="a fault"), Action.FLAGGED),
    ],
)  # fmt: skip
def test_what_may_be_moved_is_moved(facts: Facts, rules: RootRules, action: Action) -> None:
    outcome = decided(facts, SearchResult(ORIGINAL), rules)
    assert isinstance(outcome, Duplicate)
    assert outcome.decision.action is action
    assert outcome.original == ORIGINAL
