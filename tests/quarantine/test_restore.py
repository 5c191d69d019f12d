"""Restores on a real file system: what comes back, and that nothing is replaced."""

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from quarantine.actions import COPY, NEW, ORIGINAL, carry_out, order, quarantined, users_files
from twinwatch.errors import QuarantineError
from twinwatch.quarantine import Quarantine, directories


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


def test_a_name_that_is_taken_at_the_last_moment_survives_a_restore(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = carry_out(root, order(root))
    rename_out = directories.QuarantineDirs.rename_out

    def rename_out_late(dirs: directories.QuarantineDirs, record_id: str, folder_fd: int, name: bytes) -> None:
        if name == b"copy.jpg":
            (root / "sub/copy.jpg").write_bytes(NEW)
        rename_out(dirs, record_id, folder_fd, name)

    monkeypatch.setattr(directories.QuarantineDirs, "rename_out", rename_out_late)
    restored = Quarantine(root).restore(moved.record.id)
    assert restored.path == restored.record.restored_to == b"sub/copy.restored-1.jpg"
    assert users_files(root) == {"sub/copy.jpg": NEW, "sub/copy.restored-1.jpg": COPY, "original.jpg": ORIGINAL}


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


def test_one_of_two_restores_wins(root: Path) -> None:
    wanted = replace(order(root), id=driver.ID)
    carry_out(root, wanted)
    command = [sys.executable, "-P", str(driver.__file__), "restore", "native", str(root), "sub/copy.jpg"]
    running = [subprocess.Popen(command) for _ in range(4)]
    assert sorted(process.wait() for process in running) == [driver.DONE] + [driver.REFUSED] * 3
    assert users_files(root) == {"sub/copy.jpg": COPY, "original.jpg": ORIGINAL}
