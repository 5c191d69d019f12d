"""What people decide, where something is in the way: a full disk, a share that moved, a name that was taken."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinwatch.config import Settings, Watch
from twinwatch.errors import StorageError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.quarantine import MoveOrder, Quarantine
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.review import RestoreResult, dismiss_verdict, moved_since, quarantined_files, restore_files
from twinwatch.store import (
    Action,
    Kind,
    QueueState,
    Root,
    RootOfflineError,
    Store,
    Verdict,
    VerdictState,
    open_store,
)
from twinwatch.store.store import SqliteStore

FULL = Path("/dev/full")
"""A log whose every line meets a full disk: full(4)."""


class Desk:
    """A share with copies in quarantine, and what a command works with."""

    def __init__(self, home: Path) -> None:
        self.share = home / "share"
        self.share.mkdir()
        (self.share / "original.jpg").write_bytes(b"the original")
        self.log_path = home / "log" / "duplicates.jsonl"
        self.settings = self.with_log(self.log_path)
        self.store = open_store(home / "catalog.db")
        self.root: Root = self.store.roots.add(self.share, folder_id(self.share), 1)
        self.quarantine = Quarantine(self.share)
        self.quarantine.prepare()
        self.store.commit()

    def with_log(self, log: Path) -> Settings:
        return Settings(watch=(Watch(path=self.share, action="quarantine"),), duplicates_log=log)

    def found(self, name: str, *, moved: bool = True) -> str:
        """Put a copy down and remember it as found, and as moved unless it is only flagged; return its id."""
        case_id, path = uuid.uuid4().hex, self.share / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
        seen, sha256 = FileIdentity.of(path.stat()), hashlib.sha256(path.read_bytes()).hexdigest()
        relative = os.fsencode(name)
        original_sha256 = hashlib.sha256(b"the original").hexdigest()
        self.store.queue.add(self.root.id, relative, seen, False, 1, QueueState.WAITING)
        file = self.store.files.at(self.root.id, relative)
        assert file is not None
        if moved:
            self.store.files.mark_quarantined(file.id)
        else:
            self.store.files.mark_duplicate(file.id)
        self.store.verdicts.add(
            Verdict(
                id=case_id, file_id=file.id, time="2024-01-01T00:00:00.000Z", root=os.fsencode(self.share),
                path=relative, sha256=sha256, original_root=os.fsencode(self.share), original_path=b"original.jpg",
                original_sha256=original_sha256, kind=Kind.NEAR, distance=0.2, cluster=3, evidence=0.9, edit="flipped",
                action=Action.QUARANTINED if moved else Action.FLAGGED, better=False, state=VerdictState.DONE,
                logged="done",
            )
        )  # fmt: skip
        self.store.commit()
        if moved:
            order = MoveOrder(
                id=case_id, path=relative, identity=seen, sha256=sha256, original_root=str(self.share),
                original_path=b"original.jpg", original_sha256=original_sha256, kind="near", distance=0.2,
                evidence=0.9, cluster=3, edit="flipped", bundle_id="default",
            )  # fmt: skip
            with (self.share / "original.jpg").open("rb") as original:
                self.quarantine.move(order, original.fileno())
        return case_id

    def restore_all(self, settings: Settings | None = None, store: Store | None = None) -> list[RestoreResult]:
        store = store or self.store
        items = moved_since(quarantined_files(self.settings, store))
        return restore_files(settings or self.settings, items, store)

    def lines(self) -> list[tuple[str, str]]:
        text = self.log_path.read_text() if self.log_path.exists() else ""
        return [(entry["id"], entry["event"]) for entry in map(json.loads, text.splitlines())]

    def case(self, case_id: str) -> Verdict:
        case = self.store.verdicts.get(case_id)
        assert case is not None
        return case

    def state_of(self, case_id: str) -> str:
        return self.case(case_id).state


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def fill_up(store: Store) -> None:
    """From now on nothing more goes into this catalogue."""
    pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar()
    store._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    store.commit()
    with pytest.raises(StorageError):
        for number in range(2000):
            store.dismissals.add(f"{number:064}", "x" * 64, "then")
            store.commit()
    store.rollback()


def test_a_full_log_keeps_no_file_back_and_costs_no_line(desk: Desk) -> None:
    ids = [desk.found(f"copy{number}.jpg") for number in range(3)]
    results = desk.restore_all(desk.with_log(FULL))
    assert [result.error for result in results] == ["", "", ""]
    assert all("log cannot be written, the daemon does it later" in result.note for result in results)
    assert all((desk.share / f"copy{number}.jpg").exists() for number in range(3))
    assert [desk.state_of(case_id) for case_id in ids] == ["restored"] * 3
    log = DuplicatesLog(desk.log_path)
    flush_outbox(desk.store, log)
    log.close()
    assert sorted(desk.lines()) == sorted((case_id, "restored") for case_id in ids)


def test_a_log_that_cannot_be_opened_keeps_no_file_back(desk: Desk, tmp_path: Path) -> None:
    desk.found("copy.jpg")
    (result,) = desk.restore_all(desk.with_log(tmp_path))
    assert not result.error
    assert "Is a directory" in result.note
    assert (desk.share / "copy.jpg").exists()


def test_a_full_state_disk_keeps_no_file_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [desk.found(f"copy{number}.jpg") for number in range(2)]

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(SqliteStore, "commit", refuse)
        results = desk.restore_all()
    assert [result.error for result in results] == ["", ""]
    assert all("could not be remembered" in result.note for result in results)
    assert all("the disk is full" in result.note for result in results)
    assert all((desk.share / f"copy{number}.jpg").exists() for number in range(2))
    assert [desk.state_of(case_id) for case_id in ids] == ["done"] * 2


def test_what_cannot_be_remembered_is_not_dismissed(desk: Desk) -> None:
    case_id = desk.found("copy.jpg")
    fill_up(desk.store)
    with pytest.raises(StorageError, match=r"the disk of .* is full; make room"):
        dismiss_verdict(desk.settings, desk.store, desk.case(case_id))
    desk.store.rollback()
    assert desk.state_of(case_id) == "done"
    assert not (desk.share / "copy.jpg").exists()


def test_a_file_of_a_share_that_moved_is_put_back_and_that_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.found("copy0.jpg")
    desk.found("copy1.jpg")

    def away(*_: object, **__: object) -> None:
        raise RootOfflineError("the share is on another device than before")

    monkeypatch.setattr("twinwatch.review.restore.resolve_root", away)
    results = desk.restore_all()
    assert [(result.error, "on another device" in result.note) for result in results] == [("", True)] * 2
    assert (desk.share / "copy0.jpg").exists()
    assert (desk.share / "copy1.jpg").exists()


def test_what_is_in_the_way_of_one_file_is_said_without_its_control_characters(desk: Desk) -> None:
    stuck = desk.found("sub/x\x1b[31m\n forged\udcff.jpg")
    desk.found("copy.jpg")
    (desk.share / "sub").rmdir()
    (desk.share / "sub").write_text("a file")
    outcomes = {result.id: result.error for result in desk.restore_all()}
    assert "cannot go back" in outcomes.pop(stuck)
    assert list(outcomes.values()) == [""]
    assert (desk.share / "copy.jpg").exists()
    (result,) = desk.restore_all()
    assert result.error.isprintable()


def test_a_flagged_copy_that_left_its_name_to_another_file_can_be_dismissed(desk: Desk) -> None:
    case_id = desk.found("copy.jpg", moved=False)
    gone = desk.store.files.at(desk.root.id, b"copy.jpg")
    assert gone is not None
    desk.store.files.mark_gone(gone.id)
    (desk.share / "copy.jpg").write_bytes(b"another picture")
    seen = FileIdentity.of((desk.share / "copy.jpg").stat())
    desk.store.queue.add(desk.root.id, b"copy.jpg", seen, False, 2, QueueState.WAITING)
    desk.store.commit()
    case = desk.case(case_id)
    restoration, unlogged = dismiss_verdict(desk.settings, desk.store, case)
    assert (restoration, unlogged) == (None, "")
    assert desk.state_of(case_id) == "dismissed"
    assert desk.store.dismissals.of(case.sha256, [case.original_sha256]) == {case.original_sha256}
    assert desk.lines() == [(case_id, "dismissed")]
    assert {file.state for file in (desk.store.files.get(gone.id),) if file} == {"gone"}


def test_a_dismissal_stands_where_the_log_is_full(desk: Desk) -> None:
    case_id = desk.found("copy.jpg", moved=False)
    _, unlogged = dismiss_verdict(desk.with_log(FULL), desk.store, desk.case(case_id))
    assert "the daemon does it later" in unlogged
    assert desk.state_of(case_id) == "dismissed"
    assert [case.id for case in desk.store.verdicts.unlogged()] == [case_id]


def test_a_daemon_that_runs_beside_hears_of_a_restore_before_the_file_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id, restore = desk.found("copy.jpg"), Quarantine.restore
    sha256 = hashlib.sha256(b"copy.jpg").hexdigest()
    heard: list[bool] = []

    def listen(quarantine: Quarantine, record_id: str) -> object:
        beside = open_store(desk.store.path)
        heard.append(beside.verdicts.was_restored(os.fsencode(desk.share), b"copy.jpg", sha256))
        beside.close()
        return restore(quarantine, record_id)

    monkeypatch.setattr(Quarantine, "restore", listen)
    (result,) = desk.restore_all()
    assert (result.id, result.error, heard) == (case_id, "", [True])
