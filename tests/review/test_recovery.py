"""Catalogue and quarantine are brought back into step, with a real quarantine whose records are the truth."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from twinwatch.fs import FileIdentity, folder_id, stat_beneath
from twinwatch.judging.watched_root import WatchedRoot
from twinwatch.quarantine import MoveOrder, Quarantine, Record
from twinwatch.reporting import event_of
from twinwatch.review import reconcile
from twinwatch.review.recovery import record_restored
from twinwatch.store import (
    Action,
    FileState,
    Kind,
    QueueState,
    Root,
    Store,
    Verdict,
    VerdictState,
    open_store,
)

COPY, ORIGINAL = b"the copy " * 99, b"the original " * 99


class Share:
    """A root with an original and a copy, its quarantine and its catalogue."""

    def __init__(self, path: Path, store: Store) -> None:
        path.mkdir()
        self.path = path
        self.store = store
        (path / "sub").mkdir()
        (path / "original.jpg").write_bytes(ORIGINAL)
        (path / "sub" / "copy.jpg").write_bytes(COPY)
        self.quarantine = Quarantine(path)
        self.quarantine.prepare()
        self.root: Root = store.roots.add(path, folder_id(path), 1)
        self.id = uuid.uuid4().hex
        store.commit()

    @property
    def copy(self) -> Path:
        return self.path / "sub" / "copy.jpg"

    @property
    def held(self) -> Path:
        return self.path / ".twinwatch/quarantine/files" / self.id

    def decide(self) -> int:
        """Write down a pending verdict, as the daemon does before it acts; return the file's number."""
        seen = FileIdentity.of(self.copy.stat())
        self.store.queue.add(self.root.id, b"sub/copy.jpg", seen, False, 1, QueueState.WAITING)
        file = self.store.files.at(self.root.id, b"sub/copy.jpg")
        assert file is not None
        self.store.files.mark_duplicate(file.id)
        self.store.verdicts.add(
            Verdict(
                id=self.id, file_id=file.id, time="2024-01-01T00:00:00.000Z", root=os.fsencode(self.path),
                path=b"sub/copy.jpg", sha256=hashlib.sha256(COPY).hexdigest(), original_root=os.fsencode(self.path),
                original_path=b"original.jpg", original_sha256=hashlib.sha256(ORIGINAL).hexdigest(), kind=Kind.NEAR,
                distance=0.2, cluster=3, evidence=0.9, edit="flipped", action=Action.QUARANTINED, better=False,
            )
        )  # fmt: skip
        self.store.commit()
        return file.id

    def move(self) -> None:
        order = MoveOrder(
            id=self.id, path=b"sub/copy.jpg", identity=FileIdentity.of(self.copy.stat()),
            sha256=hashlib.sha256(COPY).hexdigest(), original_root=str(self.path), original_path=b"original.jpg",
            original_sha256=hashlib.sha256(ORIGINAL).hexdigest(), kind="near", distance=0.2, evidence=0.9, cluster=3,
            edit="flipped", bundle_id="default",
        )  # fmt: skip
        with (self.path / "original.jpg").open("rb") as original:
            self.quarantine.move(order, original.fileno())

    def reconcile(self) -> None:
        (root,) = self.store.roots.all(self.path)
        reconcile(self.quarantine, self.path, root, self.store)
        self.store.rollback()  # what was not committed would be lost in a crash

    @property
    def tripped(self) -> str | None:
        return self.store.roots.all(self.path)[0].tripped


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    store = open_store(tmp_path / "catalog.db")
    yield Share(tmp_path / "share", store)
    store.close()


def test_what_is_in_step_stays(share: Share) -> None:
    share.decide()
    share.move()
    share.reconcile()
    before = share.store.verdicts.all(), share.store.counts()
    share.reconcile()
    assert (share.store.verdicts.all(), share.store.counts()) == before
    assert share.held.read_bytes() == COPY
    assert share.tripped is None


def test_a_pending_verdict_whose_file_was_moved_is_done(share: Share) -> None:
    file_id = share.decide()
    share.move()
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert (case.state, case.action, case.logged) == ("done", "quarantined", "")
    assert case.quarantined_to == b".twinwatch/quarantine/files/" + share.id.encode()
    file = share.store.files.get(file_id)
    assert file is not None
    assert file.state == "quarantined"
    assert share.store.files.at(share.root.id, b"sub/copy.jpg") is None
    assert share.store.verdicts.unlogged() == [case]


def test_a_pending_verdict_without_a_record_is_judged_again(share: Share) -> None:
    file_id = share.decide()
    share.reconcile()
    assert share.store.verdicts.all() == []
    assert [file.id for file in share.store.queue.next(10, [share.root.id], [])] == [file_id]
    assert share.copy.read_bytes() == COPY


def test_a_pending_verdict_of_another_root_is_left_alone(share: Share) -> None:
    share.decide()
    verdict = share.store.verdicts.get(share.id)
    assert verdict is not None
    share.store.verdicts.drop(share.id)
    share.store.verdicts.add(replace(verdict, root=b"/srv/other"))
    share.store.commit()
    share.reconcile()
    assert [case.state for case in share.store.verdicts.all()] == ["pending"]


def test_a_move_that_was_announced_and_never_happened_is_judged_again(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = share.decide()

    class PowerCutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as cutting:
        cutting.setattr("twinwatch.quarantine.move._rename_in", cut)
        cutting.setattr("twinwatch.quarantine.move._undo", cut)
        with pytest.raises(PowerCutError):
            share.move()
    assert [record.state for record in share.quarantine.records()] == ["intended"]
    share.reconcile()
    assert [record.state for record in share.quarantine.records()] == ["aborted"]
    assert share.store.verdicts.all() == []
    assert [file.id for file in share.store.queue.next(10, [share.root.id], [])] == [file_id]
    assert share.copy.read_bytes() == COPY


def test_a_quarantined_file_that_the_catalogue_does_not_know_is_taken_in(share: Share) -> None:
    share.move()
    share.reconcile()
    (case,) = share.store.verdicts.all()
    (record,) = share.quarantine.records()
    assert (case.id, case.state, case.action, case.file_id) == (share.id, "done", "quarantined", None)
    assert (case.root, case.path) == (os.fsencode(share.path), b"sub/copy.jpg")
    assert (case.original_root, case.original_path) == (os.fsencode(share.path), b"original.jpg")
    assert (case.kind, case.distance, case.evidence, case.cluster, case.edit) == ("near", 0.2, 0.9, 3, "flipped")
    assert (case.sha256, case.original_sha256, case.time) == (record.sha256, record.original_sha256, record.intended_at)
    assert case.quarantined_to == b".twinwatch/quarantine/files/" + share.id.encode()
    assert share.store.verdicts.unlogged() == []  # the log holds it since it was moved


def test_a_file_restored_elsewhere_is_noted_and_belongs_there(share: Share) -> None:
    file_id = share.decide()
    share.move()
    share.reconcile()
    Quarantine(share.path).restore(share.id)
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    (record,) = share.quarantine.records()
    assert (case.state, case.restored_to) == ("restored", b"sub/copy.jpg")
    assert case.event_at == record.changed_at >= record.intended_at
    file = share.store.files.at(share.root.id, b"sub/copy.jpg")
    assert file is not None
    assert (file.id, file.state, file.identity) == (file_id, "restored", FileIdentity.of(share.copy.stat()))
    assert share.copy.read_bytes() == COPY
    assert share.tripped is None

    share.store.files.confirm(
        file_id, file.identity, FileState.RESTORED
    )  # it has been judged, and is not to be queued at every start
    share.store.commit()
    share.reconcile()
    assert share.store.queue.count() == 0


def test_a_restore_beside_a_newcomer_is_noted_under_its_new_name(share: Share) -> None:
    share.decide()
    share.move()
    share.reconcile()
    share.copy.write_bytes(b"a newcomer")
    restored = Quarantine(share.path).restore(share.id)
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert case.restored_to == restored.path != b"sub/copy.jpg"
    file = share.store.files.at(share.root.id, restored.path)
    assert file is not None
    assert file.state == "restored"
    assert share.copy.read_bytes() == b"a newcomer"


def test_a_dismissal_outlasts_its_restore(share: Share) -> None:
    share.decide()
    share.move()
    share.reconcile()
    share.store.verdicts.mark_dismissed(share.id, "then")
    share.store.commit()
    Quarantine(share.path).restore(share.id)
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert case.state == "dismissed"


def test_a_restored_file_that_was_deleted_since_is_only_noted(share: Share) -> None:
    share.decide()
    share.move()
    share.reconcile()
    Quarantine(share.path).restore(share.id)
    share.copy.unlink()
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert case.state == "restored"
    assert share.store.files.at(share.root.id, b"sub/copy.jpg") is None
    assert share.store.queue.count() == 0


def test_a_file_taken_out_by_hand_is_told_and_its_case_is_closed(share: Share, tmp_path: Path) -> None:
    file_id = share.decide()
    share.move()
    share.reconcile()
    shutil.move(share.held, tmp_path / "taken.jpg")
    for _ in range(2):
        share.reconcile()
        assert share.tripped is None
        case = share.store.verdicts.get(share.id)
        assert case is not None
        assert case.state == "removed"
        assert case.event_at
        assert share.store.verdicts.quarantined() == []
    assert event_of(case)["event"] == "removed"
    file = share.store.files.get(file_id)
    assert file is not None
    assert file.state == "gone"
    assert "quarantined" not in share.store.counts()


def test_a_file_put_back_by_hand_counts_as_restored(share: Share) -> None:
    share.decide()
    share.move()
    share.reconcile()
    share.held.rename(share.copy)
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert (case.state, case.restored_to) == ("restored", b"sub/copy.jpg")
    assert share.tripped is None


def test_a_case_is_closed_even_where_the_first_start_after_it_was_cut_short(share: Share, tmp_path: Path) -> None:
    share.decide()
    share.move()
    share.reconcile()
    shutil.move(share.held, tmp_path / "taken.jpg")
    share.quarantine.recover()  # and then the power fails
    share.reconcile()
    case = share.store.verdicts.get(share.id)
    assert case is not None
    assert case.state == "removed"


def test_a_name_that_another_file_took_meanwhile_is_no_reason_to_fail(share: Share) -> None:
    file_id = share.decide()
    share.store.files.mark_gone(file_id)
    share.store.queue.add(
        share.root.id, b"sub/copy.jpg", FileIdentity.of(share.copy.stat()), False, 2, QueueState.WAITING
    )
    share.store.commit()
    share.reconcile()
    assert share.store.verdicts.all() == []
    assert share.store.queue.count() == 1


DEEP = (b"d" * 200 + b"/") * 25 + b"copy.jpg"


def test_a_path_longer_than_the_kernel_takes_at_once_is_found(share: Share) -> None:
    put_deep(share.path, DEEP, COPY)
    root = WatchedRoot(share.path, share.root.folder, protect=False)
    seen = root.stat(DEEP)
    assert seen is not None
    assert seen.size_bytes == len(COPY)
    assert root.stat(DEEP + b"x") is None
    assert root.stat(b"none/" + DEEP) is None


def test_a_deep_file_that_was_restored_is_noted_like_any_other(share: Share) -> None:
    put_deep(share.path, DEEP, COPY)
    file_id = share.decide()
    share.store.files.mark_quarantined(file_id)
    share.store.verdicts.mark_done(share.id, Action.QUARANTINED)
    share.store.commit()
    seen = stat_beneath(share.path, DEEP)
    assert seen is not None
    record = next(iter_records(share, DEEP, seen))
    record_restored(share.store, share.path, share.root, share.store.verdicts.all()[0], record)
    file = share.store.files.at(share.root.id, DEEP)
    assert file is not None
    assert (file.id, file.state, file.identity) == (file_id, "restored", seen)


def put_deep(root: Path, path: bytes, content: bytes) -> None:
    """Make a file at a path of any length."""
    *folders, name = path.split(b"/")
    folder_fd = os.open(root, os.O_RDONLY)
    for folder in folders:
        os.mkdir(folder, dir_fd=folder_fd)
        next_fd = os.open(folder, os.O_RDONLY, dir_fd=folder_fd)
        os.close(folder_fd)
        folder_fd = next_fd
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder_fd), "wb") as file:
        file.write(content)
    os.close(folder_fd)


def iter_records(share: Share, path: bytes, identity: FileIdentity) -> Iterator[Record]:
    """The record that a restore to this path would leave."""
    share.move()
    for record in share.quarantine.records():
        yield replace(record, path=path, identity=identity, state="restored", restored_to=path)


def test_a_stray_file_latches_the_root_and_stays(share: Share) -> None:
    share.held.write_bytes(b"whose?")
    share.reconcile()
    assert share.tripped is not None
    assert "stray" in share.tripped
    assert share.held.read_bytes() == b"whose?"


def test_the_first_reason_of_a_latch_is_kept(share: Share) -> None:
    share.store.roots.trip(share.root.id, "a person's reason", "then")
    share.store.commit()
    share.held.write_bytes(b"whose?")
    share.reconcile()
    assert share.tripped == "a person's reason"


def test_an_empty_catalogue_learns_of_all_that_is_in_quarantine(share: Share, tmp_path: Path) -> None:
    share.decide()
    share.move()
    fresh = open_store(tmp_path / "rebuilt.db")
    root = fresh.roots.add(share.path, folder_id(share.path), 1)
    reconcile(share.quarantine, share.path, root, fresh)
    assert [case.id for case in fresh.verdicts.all(state=VerdictState.DONE)] == [share.id]
    fresh.close()
    assert share.held.read_bytes() == COPY
