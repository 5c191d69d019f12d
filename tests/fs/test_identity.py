"""File identity, on real files."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from twinwatch.fs import FileIdentity, folder_id, stat_beneath, stat_regular


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count
    yield
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def test_the_identity_follows_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    before = stat_regular(os.fsencode(path))
    status = path.stat()
    assert before == FileIdentity(status.st_dev, status.st_ino, 5, status.st_mtime_ns, status.st_ctime_ns, 1)

    os.link(path, tmp_path / "second")
    path.chmod(0o600)
    path.rename(tmp_path / "renamed")
    after = stat_regular(os.fsencode(tmp_path / "renamed"))
    assert before is not None
    assert after is not None
    assert after.links == 2
    assert after != before
    assert after.same_bytes_as(before)

    (tmp_path / "second").write_bytes(b"12346")
    os.utime(tmp_path / "second", ns=(1, 1))
    written = stat_regular(os.fsencode(tmp_path / "renamed"))
    assert written is not None
    assert not written.same_bytes_as(before)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, make_link])
def test_what_is_no_regular_file_has_no_identity(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "thing")
    assert stat_regular(os.fsencode(tmp_path / "thing")) is None


def test_what_is_not_there_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert stat_regular(os.fsencode(tmp_path / "none")) is None
    assert stat_regular(os.fsencode(tmp_path / "file" / "inner")) is None


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        stat_regular(os.fsencode(tmp_path / ("x" * 300)))


@pytest.mark.parametrize("time_ns", [-(1 << 70), -1, 0, (1 << 63) - 1, 1 << 63, 1 << 70])
def test_any_time_fits_into_64_bits_and_those_that_do_are_kept(time_ns: int) -> None:
    facts = {"st_dev": 1, "st_ino": 2, "st_size": 3, "st_nlink": 1, "st_mtime_ns": time_ns, "st_ctime_ns": time_ns}
    found = FileIdentity.of(SimpleNamespace(**facts))  # type: ignore[arg-type]
    assert found.mtime_ns == found.ctime_ns == max(-(1 << 63), min((1 << 63) - 1, time_ns))


def test_a_file_beneath_a_root_is_found_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"bytes")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link").symlink_to("real/file")
    assert stat_beneath(tmp_path, b"real/file") == stat_regular(os.fsencode(tmp_path / "real" / "file"))
    for path in (b"folder/file", b"link", b"none", b"none/file", b"real/file/inner", b"real"):
        assert stat_beneath(tmp_path, path) is None


def test_a_root_is_known_by_its_folder_and_not_by_its_path(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "link").symlink_to("root")
    first = folder_id(root)
    assert first == (root.stat().st_dev, root.stat().st_ino) == folder_id(tmp_path / "link")
    root.rename(tmp_path / "moved")
    root.mkdir()
    assert folder_id(root) != first
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        folder_id(tmp_path / "file")
