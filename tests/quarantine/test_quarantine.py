"""Quarantine on a real file system: what it moves, what it refuses, what it does when files change under its hands."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from twinwatch.errors import QuarantineError
from twinwatch.fs import linux
from twinwatch.quarantine import (
    BusyError,
    ChangedError,
    Moved,
    MoveOrder,
    NotMovableError,
    Quarantine,
    StorageFaultError,
    directories,
    records,
)

COPY, ORIGINAL, NEW = b"the copy " * 999, b"the original " * 999, b"something new " * 999
Between = Callable[[Callable[[], object]], None]


@pytest.fixture(params=["native", "fallback"], autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test on a file system that can rename without replacing, and as if on one that cannot."""
    if request.param == "fallback":
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "original.jpg").write_bytes(ORIGINAL)
    (root / "sub" / "copy.jpg").write_bytes(COPY)
    Quarantine(root).prepare()
    return root


def order(root: Path, path: str = "sub/copy.jpg") -> MoveOrder:
    wanted: MoveOrder = driver.order_for(root, path, uuid.uuid4().hex)
    return wanted


def carry_out(root: Path, wanted: MoveOrder) -> Moved:
    with (root / os.fsdecode(wanted.original_path)).open("rb") as original:
        return Quarantine(root).move(wanted, original.fileno())


def quarantined(root: Path) -> list[Path]:
    return sorted((root / ".twinwatch/quarantine/files").iterdir())


def users_files(root: Path) -> dict[str, bytes]:
    found = [path for path in root.rglob("*") if path.is_file() and ".twinwatch" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def states(root: Path) -> list[str]:
    return [record.state for record in Quarantine(root).records()]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    """Return a way to have something happen after the last look at the name and before the rename."""

    def install(happen: Callable[[], object]) -> None:
        rename_in = directories.QuarantineDirs.rename_in

        def after(folders: directories.QuarantineDirs, folder_fd: int, name: bytes, record_id: str) -> None:
            happen()
            rename_in(folders, folder_fd, name, record_id)

        monkeypatch.setattr(directories.QuarantineDirs, "rename_in", after)

    return install


@pytest.fixture
def never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a file leaves its name even for a moment."""
    monkeypatch.setattr(directories.QuarantineDirs, "rename_in", lambda *_: pytest.fail("the file was moved"))


def test_round_trip_keeps_everything(root: Path) -> None:
    name = b"sub/caf\xe9 \n.jpg"
    path = root / os.fsdecode(name)
    path.write_bytes(COPY)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    with contextlib.suppress(OSError):
        os.setxattr(path, "user.note", b"holiday")
    os.utime(path, ns=(1_000_000_000_000_000_001, 1_100_000_000_000_000_002))
    before = path.stat()

    moved = carry_out(root, order(root, os.fsdecode(name)))

    assert not path.exists()
    assert (root / os.fsdecode(moved.quarantined_to)).stat().st_ino == before.st_ino
    (record,) = Quarantine(root).records()
    assert record == moved.record
    assert (record.path, record.state, record.uid, record.mode) == (name, "quarantined", before.st_uid, 0o640)
    assert record.atime_ns == before.st_atime_ns
    restored = Quarantine(root).restore(record.id)
    assert restored.path == name
    assert restored.record.state == "restored"
    after = path.stat()
    for what in ("st_ino", "st_uid", "st_gid", "st_mode", "st_atime_ns", "st_mtime_ns", "st_size"):
        assert getattr(after, what) == getattr(before, what), what
    with contextlib.suppress(OSError):
        assert os.getxattr(path, "user.note") == b"holiday"
    assert path.read_bytes() == COPY
    with pytest.raises(QuarantineError, match="not in quarantine any more: restored"):
        Quarantine(root).restore(record.id)


def test_what_somebody_took_out_of_quarantine_cannot_be_restored(root: Path) -> None:
    moved = carry_out(root, order(root))
    (root / os.fsdecode(moved.quarantined_to)).unlink()
    with pytest.raises(QuarantineError, match="not in quarantine any more: somebody took it out by hand"):
        Quarantine(root).restore(moved.record.id)


def test_records_are_readable_and_private(root: Path) -> None:
    moved = carry_out(root, order(root))
    info = root / ".twinwatch/quarantine/info" / f"{moved.record.id}.json"
    shown = json.loads(info.read_text())
    assert (shown["path"], shown["state"], shown["kind"]) == ("sub/copy.jpg", "quarantined", "exact")
    for path in (info, root / ".twinwatch/lock"):
        assert path.stat().st_mode & 0o777 == 0o600
    for path in (root / ".twinwatch", info.parent, info.parent.parent):
        assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("copy.jpg", "copy", ".jpg"),
        ("x" * 255, "x" * 244, ""),
        ("x" * 251 + ".jpg", "x" * 240, ".jpg"),
        ("é" * 125 + ".jpeg", "é" * 119 + "\udcc3", ".jpeg"),  # a name is bytes, and is cut as such
        ("x" * 200 + "." + "y" * 54, "x" * 200 + "." + "y" * 43, ""),
        (".jpg", ".jpg", ""),
        ("copy.", "copy", "."),
    ],
)
def test_taken_names_survive(root: Path, name: str, stem: str, suffix: str) -> None:
    (root / name).write_bytes(COPY)
    first = carry_out(root, order(root, name))
    (root / name).write_bytes(b"2" + COPY)
    second = carry_out(root, order(root, name))
    (root / name).write_bytes(NEW)
    paths = [Quarantine(root).restore(moved.record.id).path for moved in (first, second)]
    assert paths == [os.fsencode(f"{stem}.restored-{number}{suffix}") for number in (1, 2)]
    assert all(len(path) <= 255 for path in paths)
    files = users_files(root)
    assert files[name] == NEW
    assert [files[os.fsdecode(path)] for path in paths] == [COPY, b"2" + COPY]


def test_vanished_parents_are_made_again(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/copy.jpg").write_bytes(COPY)
    moved = carry_out(root, order(root, "a/b/copy.jpg"))
    shutil.rmtree(root / "a")
    root.chmod(0o2775)
    assert Quarantine(root).restore(moved.record.id).path == b"a/b/copy.jpg"
    assert (root / "a/b/copy.jpg").read_bytes() == COPY
    assert (root / "a/b").stat().st_mode & 0o7777 == 0o2775


def test_a_folder_that_somebody_puts_in_the_place_of_one_made_again_keeps_its_mode(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, mkdir = carry_out(root, order(root)), os.mkdir
    (root / "sub").rmdir()
    monkeypatch.setattr(os, "mkdir", lambda name, mode, dir_fd: mkdir(name, 0o711, dir_fd=dir_fd))
    assert Quarantine(root).restore(moved.record.id).path == b"sub/copy.jpg"
    assert (root / "sub").stat().st_mode & 0o777 == 0o711


def test_restore_follows_no_link(root: Path, tmp_path: Path) -> None:
    moved = carry_out(root, order(root))
    (tmp_path / "outside").mkdir()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(QuarantineError, match="stays in quarantine"):
        Quarantine(root).restore(moved.record.id)
    assert [path.read_bytes() for path in quarantined(root)] == [COPY]
    assert not list((tmp_path / "outside").iterdir())
    (root / "sub").unlink()
    assert Quarantine(root).restore(moved.record.id).path == b"sub/copy.jpg"


def _rewrite_unseen(root: Path) -> None:
    path = root / "sub/copy.jpg"
    before = path.stat()
    path.write_bytes(NEW[: len(COPY)].ljust(len(COPY)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "sub/copy.jpg").unlink()
        make(root / "sub/copy.jpg")

    return change


def _link_parent(root: Path) -> None:
    (root / "sub").rename(root / "elsewhere")
    (root / "sub").symlink_to("elsewhere")


@pytest.mark.usefixtures("never_taken")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda root: (root / "sub/copy.jpg").write_bytes(NEW), ChangedError),
        (_rewrite_unseen, ChangedError),
        (lambda root: os.truncate(root / "sub/copy.jpg", 10), ChangedError),
        (lambda root: (root / "sub/copy.jpg").rename(root / "moved.jpg"), ChangedError),
        (_replace_by(lambda path: path.write_bytes(COPY)), ChangedError),
        (_replace_by(lambda path: path.symlink_to("../original.jpg")), ChangedError),
        (_replace_by(os.mkfifo), ChangedError),
        (_replace_by(Path.mkdir), ChangedError),
        (_link_parent, ChangedError),
        (lambda root: os.link(root / "sub/copy.jpg", root / "other"), NotMovableError),
        (lambda root: (root / "original.jpg").write_bytes(NEW), ChangedError),
        (lambda root: os.truncate(root / "original.jpg", 10), ChangedError),
        (lambda root: (root / "original.jpg").rename(root / "moved.jpg"), ChangedError),
        (lambda root: (root / "original.jpg").unlink(), ChangedError),
        (lambda root: (root / "sub/copy.jpg").replace(root / "original.jpg"), ChangedError),
    ],
)
def test_what_changed_since_it_was_judged_stays(
    root: Path, change: Callable[[Path], object], error: type[QuarantineError]
) -> None:
    wanted = order(root)
    with (root / "original.jpg").open("rb") as original:
        change(root)
        before = users_files(root)
        with pytest.raises(error):
            Quarantine(root).move(wanted, original.fileno())
    assert users_files(root) == before
    assert quarantined(root) == []
    assert set(states(root)) <= {"aborted"}
    assert Quarantine(root).recover() == []


@pytest.mark.usefixtures("never_taken")
@pytest.mark.parametrize("part", ["sha256", "original_sha256"])
def test_only_the_judged_bytes_are_moved(root: Path, part: str) -> None:
    wanted = order(root)
    if part == "sha256":
        wanted = replace(wanted, sha256=wanted.original_sha256)
    else:
        wanted = replace(wanted, original_sha256=wanted.sha256)
    with pytest.raises(ChangedError, match="not those that were judged"):
        carry_out(root, wanted)
    assert quarantined(root) == []


@pytest.mark.usefixtures("never_taken")
def test_a_file_swapped_in_while_the_intent_is_written_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, path = records.write, root / "sub/copy.jpg"

    def write_and_swap(info_fd: int, record: records.Record) -> None:
        write(info_fd, record)
        if record.state == "intended":
            path.rename(root / "kept.jpg")
            path.write_bytes(NEW)

    monkeypatch.setattr(records, "write", write_and_swap)
    with pytest.raises(ChangedError):
        carry_out(root, order(root))
    assert users_files(root) == {"sub/copy.jpg": NEW, "kept.jpg": COPY, "original.jpg": ORIGINAL}
    assert states(root) == ["aborted"]


def test_a_name_that_is_taken_at_the_last_moment_survives_a_restore(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = carry_out(root, order(root))
    rename_out = directories.QuarantineDirs.rename_out

    def rename_out_late(folders: directories.QuarantineDirs, record_id: str, folder_fd: int, name: bytes) -> None:
        if name == b"copy.jpg":
            (root / "sub/copy.jpg").write_bytes(NEW)
        rename_out(folders, record_id, folder_fd, name)

    monkeypatch.setattr(directories.QuarantineDirs, "rename_out", rename_out_late)
    restored = Quarantine(root).restore(moved.record.id)
    assert restored.path == restored.record.restored_to == b"sub/copy.restored-1.jpg"
    assert users_files(root) == {"sub/copy.jpg": NEW, "sub/copy.restored-1.jpg": COPY, "original.jpg": ORIGINAL}


@pytest.mark.usefixtures("never_taken")
def test_a_file_is_not_its_own_original(root: Path) -> None:
    wanted = replace(order(root), original_path=b"sub/copy.jpg")
    wanted = replace(wanted, original_sha256=wanted.sha256)
    with pytest.raises(NotMovableError, match="one file"):
        carry_out(root, wanted)
    assert quarantined(root) == []


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("x"), lambda path: path.write_bytes(NEW)]
)
@pytest.mark.parametrize("taken", [False, True])
def test_what_takes_the_name_at_the_last_moment_goes_back(
    root: Path, between: Between, make: Callable[[Path], object], taken: bool
) -> None:
    path, wanted = root / "sub/copy.jpg", order(root)

    def swap() -> None:
        path.rename(root / "kept.jpg")
        make(path)

    between(swap)
    fsync = os.fsync
    seen: list[int] = []

    def take_the_name_again(fd: int) -> None:
        fsync(fd)
        if taken and not seen and quarantined(root):
            seen.append(fd)
            path.write_bytes(b"third")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ChangedError):
        patch.setattr(os, "fsync", take_the_name_again)
        carry_out(root, wanted)
    assert quarantined(root) == []
    assert (root / "kept.jpg").read_bytes() == COPY
    back = path.with_name("copy.restored-1.jpg") if taken else path
    assert os.path.lexists(back)
    assert not back.is_file() or back.read_bytes() == NEW
    assert not taken or path.read_bytes() == b"third"
    assert states(root) == ["aborted"]


@pytest.mark.parametrize("lose", [os.unlink, lambda path: path.write_bytes(NEW), lambda path: os.truncate(path, 5)])
def test_the_copy_goes_back_when_the_original_is_lost_meanwhile(
    root: Path,
    between: Between,
    lose: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without leases, as nothing else would let the original be written here.
    monkeypatch.setattr(linux, "_take_lease", lambda fd: False)
    between(lambda: lose(root / "original.jpg"))
    with pytest.raises(ChangedError):
        carry_out(root, order(root))
    assert (root / "sub/copy.jpg").read_bytes() == COPY
    assert quarantined(root) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda path: path.write_bytes(NEW),
        lambda path: path.write_bytes(NEW[: len(COPY)].ljust(len(COPY))),
        lambda path: os.truncate(path, 5),
        lambda path: os.link(path, path.with_name("second.jpg")),
    ],
)
def test_a_copy_that_is_written_or_linked_at_the_last_moment_goes_back_as_it_is(
    root: Path, between: Between, act: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "_take_lease", lambda fd: False)
    path = root / "sub/copy.jpg"
    wanted, facts = order(root), []

    def change() -> None:
        act(path)
        facts.append((path.stat().st_ino, path.stat().st_nlink, path.read_bytes()))

    between(change)
    with pytest.raises(ChangedError):
        carry_out(root, wanted)
    assert quarantined(root) == []
    assert [(path.stat().st_ino, path.stat().st_nlink, path.read_bytes())] == facts


@pytest.mark.parametrize("name", ["sub/copy.jpg", "original.jpg"])
def test_a_file_that_is_open_for_writing_stays(root: Path, name: str) -> None:
    wanted = order(root)
    with (root / name).open("r+b"), pytest.raises(ChangedError, match="is being written"):
        carry_out(root, wanted)
    assert carry_out(root, wanted).record.state == "quarantined"


@pytest.mark.parametrize("name", ["sub/copy.jpg", "original.jpg"])
def test_a_writer_that_comes_meanwhile_finds_the_file_at_its_place(root: Path, between: Between, name: str) -> None:
    def write() -> None:
        with (root / name).open("r+b") as file:
            file.write(NEW)

    writer = threading.Thread(target=write)

    def come() -> None:
        writer.start()
        time.sleep(0.3)  # it now waits for the lease, with the path already looked up

    between(come)
    raised: list[BaseException] = []

    def move() -> None:
        with contextlib.suppress(ChangedError):
            carry_out(root, order(root))
            raised.append(AssertionError("moved"))

    # In another thread, as only the main one could handle the signal of a lease.
    mover = threading.Thread(target=move)
    mover.start()
    mover.join()
    writer.join()
    assert not raised
    assert (root / name).read_bytes()[: len(NEW)] == NEW
    assert quarantined(root) == []


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "file"])
def test_other_mounts_are_refused(root: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    at = {
        "tmpfs": ("-t", "tmpfs", "none", str(root / "sub")),
        "bind": ("--bind", str(tmp_path / "outside"), str(root / "sub")),
        "file": ("--bind", str(root / "sub/copy.jpg"), str(root / "sub/copy.jpg")),
    }[kind]
    with mounted(*at):
        if kind != "file":
            (root / "sub/copy.jpg").write_bytes(COPY)
        with pytest.raises(NotMovableError):
            carry_out(root, order(root))
        assert (root / "sub/copy.jpg").read_bytes() == COPY
    assert quarantined(root) == []
    assert states(root) == []


def test_a_read_only_root_is_named_with_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with mounted("-t", "tmpfs", "-o", "ro", "none", str(root)), pytest.raises(QuarantineError, match="action: flag"):
        Quarantine(root).prepare()


def test_a_quarantine_on_another_mount_is_refused(root: Path) -> None:
    wanted, files = order(root), root / ".twinwatch/quarantine/files"
    refused = pytest.raises(QuarantineError, match="another mount than its root")
    with mounted("-t", "tmpfs", "-o", "mode=700", "none", str(files)), refused:
        carry_out(root, wanted)
    assert (root / "sub/copy.jpg").read_bytes() == COPY


@pytest.mark.usefixtures("never_taken")
def test_a_private_folder_that_others_may_enter_is_not_used(root: Path) -> None:
    (root / ".twinwatch/quarantine").chmod(0o755)
    with pytest.raises(QuarantineError, match="where 700 is needed"):
        carry_out(root, order(root))
    assert (root / "sub/copy.jpg").read_bytes() == COPY


def test_a_vanished_quarantine_is_a_fault(root: Path) -> None:
    wanted = order(root)
    (root / ".twinwatch").rename(root.parent / "gone")
    with pytest.raises(StorageFaultError, match="still mounted"):
        carry_out(root, wanted)
    assert list(Quarantine(root).records()) == []


def test_prepare_refuses_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".twinwatch").symlink_to("elsewhere")
    with pytest.raises(QuarantineError, match="remove it"):
        Quarantine(tmp_path).prepare()
    (tmp_path / ".twinwatch").unlink()
    (tmp_path / ".twinwatch").mkdir(0o777)
    Quarantine(tmp_path).prepare()
    assert (tmp_path / ".twinwatch").stat().st_mode & 0o777 == 0o700
    with pytest.raises(QuarantineError, match=r"cannot have a quarantine here .*: let the user \w+ write"):
        Quarantine(tmp_path / "missing").prepare()
    if os.geteuid() == 0:
        os.chown(tmp_path / ".twinwatch", 1234, -1)
        with pytest.raises(QuarantineError, match="belongs to uid 1234, not to root"):
            Quarantine(tmp_path).prepare()


def test_a_file_system_without_any_safe_way_back_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(linux, "rename_no_replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(QuarantineError, match="action: flag"):
        Quarantine(root).prepare()


@pytest.mark.parametrize("path", [b"../x", b"/x", b"sub//copy.jpg", b".twinwatch/lock", b"", b"sub/./copy.jpg"])
def test_paths_that_leave_the_tree_are_refused(root: Path, path: bytes) -> None:
    with pytest.raises(QuarantineError, match="not a path"):
        carry_out(root, replace(order(root), path=path))


def test_ids_are_used_once(root: Path) -> None:
    wanted = order(root)
    carry_out(root, wanted)
    (root / "sub/copy.jpg").write_bytes(NEW)
    with pytest.raises(QuarantineError, match="used before"):
        carry_out(root, replace(order(root), id=wanted.id))
    with pytest.raises(QuarantineError, match="not a quarantine id"):
        Quarantine(root).restore("../../original.jpg")
    with pytest.raises(QuarantineError, match="nothing with id"):
        Quarantine(root).restore("0" * 32)


def test_recovery_leaves_alone_what_it_cannot_interpret(root: Path) -> None:
    moved = carry_out(root, order(root))
    private = root / ".twinwatch/quarantine"
    record = private / "info" / f"{moved.record.id}.json"
    (private / "info" / f"{'2' * 32}.json").write_bytes(record.read_bytes())
    record.write_text('{"version": 99}')
    (private / "info" / "notes.txt").write_text("an admin was here")
    (private / "files" / "found").write_bytes(NEW)
    (private / "info" / f"{'1' * 32}.tmp").write_text("{")
    found = {recovered.id: recovered for recovered in Quarantine(root).recover()}
    assert {key: value.outcome for key, value in found.items()} == {
        moved.record.id: "unreadable",
        "2" * 32: "unreadable",
        "notes.txt": "unreadable",
        "found": "stray",
    }
    assert all(recovered.needs_person for recovered in found.values())
    assert {path.read_bytes() for path in quarantined(root)} == {COPY, NEW}
    assert {path.name for path in (private / "info").iterdir()} == {"notes.txt", f"{'2' * 32}.json", record.name}
    assert list(Quarantine(root).records()) == []


def _held(root: Path) -> Path:
    return root / ".twinwatch/quarantine/files" / driver.ID


def _go_half_way_home(root: Path) -> None:
    os.link(_held(root), root / "sub/copy.jpg")


@pytest.mark.parametrize(
    ("state", "restored_to", "happen", "outcome"),
    [
        ("intended", None, lambda root: None, "quarantined"),
        ("intended", None, lambda root: (root / "original.jpg").write_bytes(NEW), "put back"),
        ("intended", None, lambda root: (root / "original.jpg").unlink(), "put back"),
        ("intended", None, lambda root: _held(root).write_bytes(NEW), "put back"),
        ("intended", None, lambda root: os.link(_held(root), root / "other"), "put back"),
        ("intended", b"sub/copy.jpg", lambda root: None, "put back"),
        ("intended", b"sub/copy.jpg", _go_half_way_home, "put back"),
        ("quarantined", None, _go_half_way_home, "put back"),
        ("restoring", b"sub/copy.jpg", lambda root: None, "restored"),
        ("restoring", b"sub/copy.jpg", _go_half_way_home, "restored"),
        ("restoring", b"sub/copy.jpg", lambda root: (root / "sub/copy.jpg").write_bytes(NEW), "restored"),
    ],
)
def test_recovery_finishes_only_what_may_stand(
    root: Path,
    state: records.State,
    restored_to: bytes | None,
    happen: Callable[[Path], object],
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if happen is _go_half_way_home:  # which a rename cannot do
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)
    moved = carry_out(root, replace(order(root), id=driver.ID))
    with directories.open_dirs(root) as folders:
        records.write(folders.info, replace(moved.record, state=state, restored_to=restored_to))
    happen(root)
    held, taken = _held(root).read_bytes(), (root / "sub/copy.jpg").exists() and happen is not _go_half_way_home
    (settled,) = Quarantine(root).recover()
    assert (settled.outcome, settled.needs_person) == (outcome, False)
    assert Quarantine(root).recover() == []
    home = root / ("sub/copy.restored-1.jpg" if taken else "sub/copy.jpg")
    assert [path.read_bytes() for path in quarantined(root)] == ([held] if outcome == "quarantined" else [])
    assert home.exists() is (outcome != "quarantined")
    assert not home.exists() or home.read_bytes() == held
    assert len(list((root / "sub").iterdir())) == home.exists() + taken
    assert not taken or (root / "sub/copy.jpg").read_bytes() == NEW


def test_recovery_puts_back_what_was_written_late(root: Path) -> None:
    moved = carry_out(root, order(root))
    with (root / os.fsdecode(moved.quarantined_to)).open("ab") as late:
        late.write(NEW)
    (recovered,) = Quarantine(root).recover()
    assert recovered.outcome == "put back"
    assert states(root) == ["aborted"]  # nobody asked for it, so it may be judged again
    assert (root / "sub/copy.jpg").read_bytes() == COPY + NEW
    assert Quarantine(root).recover() == []


def test_recovery_names_what_was_taken_out_by_hand(root: Path) -> None:
    moved = carry_out(root, order(root))
    (root / os.fsdecode(moved.quarantined_to)).rename(root / "taken.jpg")
    (recovered,) = Quarantine(root).recover()
    assert (recovered.outcome, recovered.needs_person) == ("missing", False)
    assert Quarantine(root).recover() == []


def test_one_of_two_restores_wins(root: Path) -> None:
    wanted = replace(order(root), id=driver.ID)
    carry_out(root, wanted)
    command = [sys.executable, "-P", str(driver.__file__), "restore", "native", str(root), "sub/copy.jpg"]
    running = [subprocess.Popen(command) for _ in range(4)]
    assert sorted(process.wait() for process in running) == [driver.DONE] + [driver.REFUSED] * 3
    assert users_files(root) == {"sub/copy.jpg": COPY, "original.jpg": ORIGINAL}


def test_a_lock_that_is_held_too_long_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_LOCK_WAIT_S", 0.1)
    wanted = order(root)
    with directories.lock_dirs(root, no_replace=None), pytest.raises(BusyError):
        carry_out(root, wanted)
    assert (root / "sub/copy.jpg").read_bytes() == COPY
