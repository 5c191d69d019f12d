"""The quarantine's directories: created, checked and locked."""

import errno
import os
from pathlib import Path

import pytest

from quarantine.actions import COPY, carry_out, mounted, order
from twinwatch.errors import QuarantineError
from twinwatch.fs import linux
from twinwatch.quarantine import BusyError, Quarantine, StorageFaultError, directories


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


def test_a_lock_that_is_held_too_long_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_LOCK_WAIT_S", 0.1)
    wanted = order(root)
    with directories.lock_dirs(root, no_replace=None), pytest.raises(BusyError):
        carry_out(root, wanted)
    assert (root / "sub/copy.jpg").read_bytes() == COPY
