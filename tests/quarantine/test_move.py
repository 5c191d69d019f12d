"""Moves on a real file system: what is moved, what stays, and what goes back when files change meanwhile."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quarantine.actions import COPY, NEW, ORIGINAL, Between, carry_out, mounted, order, quarantined, states, users_files
from twinwatch.errors import QuarantineError
from twinwatch.fs import linux
from twinwatch.quarantine import ChangedError, NotMovableError, Quarantine, records


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
