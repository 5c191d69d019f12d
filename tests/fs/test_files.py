"""Opening without following links, reading and hashing, on real files."""

import errno
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinwatch.errors import UnreadableError
from twinwatch.fs import files, hash_file, open_beneath, open_folder, open_root, read_whole
from twinwatch.fs.files import CHUNK_BYTES


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    fd = open_root(tmp_path)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208  the fixture's own may still be open


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


def test_it_opens_a_file_in_a_folder(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"bytes")
    assert read(open_beneath(root_fd, b"a/b/c")) == b"bytes"


def test_a_name_need_not_be_text(tmp_path: Path, root_fd: int) -> None:
    name = b"caf\xe9\n\x1b.jpg"
    (tmp_path / os.fsdecode(name)).write_bytes(b"bytes")
    assert read(open_beneath(root_fd, name)) == b"bytes"


def test_a_link_is_not_followed(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "folder").symlink_to("real")
    with pytest.raises(UnreadableError, match="not a regular file"):
        open_beneath(root_fd, b"link")
    with pytest.raises(OSError) as caught:
        open_beneath(root_fd, b"folder/file")
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("real")
    fd = open_root(tmp_path / "link")
    try:
        assert read(open_beneath(fd, b"file")) == b"bytes"
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", [b"../outside", b"a/../../outside", b"a/../b"])
def test_a_path_cannot_leave_its_root(tmp_path: Path, path: bytes) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "b").write_bytes(b"x")
    fd = open_root(tmp_path / "root")
    try:
        with pytest.raises(UnreadableError, match="leaves its root"):
            open_beneath(fd, path)
    finally:
        os.close(fd)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_folder(path: Path) -> None:
    path.mkdir()


def make_device_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_folder, make_device_link])
def test_only_regular_files_are_opened(tmp_path: Path, root_fd: int, make: Callable[[Path], None]) -> None:
    make(tmp_path / "thing")
    with pytest.raises(UnreadableError, match="not a regular file"):
        open_beneath(root_fd, b"thing")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("other")])
def test_what_takes_the_name_after_the_look_neither_blocks_nor_opens(
    tmp_path: Path, root_fd: int, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thing"
    (tmp_path / "other").write_bytes(b"secret")
    path.write_bytes(b"x")
    require, looks = files._require_regular, [0]

    def swap_after(status: os.stat_result) -> None:
        require(status)
        looks[0] += 1
        if looks[0] == 1:
            path.unlink()
            make(path)

    monkeypatch.setattr(files, "_require_regular", swap_after)
    with pytest.raises((UnreadableError, OSError), match=r"not a regular file|symbolic links"):
        open_beneath(root_fd, b"thing")


def test_a_missing_file_is_an_error_of_the_system(root_fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        open_beneath(root_fd, b"none")
    with pytest.raises(FileNotFoundError):
        open_folder(root_fd, b"none/a")


def test_the_empty_path_is_the_root(tmp_path: Path, root_fd: int) -> None:
    fd = open_folder(root_fd, b"")
    try:
        assert os.fstat(fd).st_ino == tmp_path.stat().st_ino
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 3])
def test_a_file_is_read_and_hashed_whole(tmp_path: Path, root_fd: int, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    fd = open_beneath(root_fd, b"file")
    try:
        os.lseek(fd, size // 2, os.SEEK_SET)
        assert read_whole(fd, size) == (data, hashlib.sha256(data).hexdigest())
        assert hash_file(fd) == hashlib.sha256(data).hexdigest()
        if size:
            with pytest.raises(UnreadableError, match=r"limits\.max_file_mb"):
                read_whole(fd, size - 1)
    finally:
        os.close(fd)


def test_a_file_that_grows_while_it_is_read_ends(tmp_path: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    fd = open_beneath(root_fd, b"file")
    pread = os.pread

    def grow(fd: int, count: int, offset: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"y" * 10)
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", grow)
    try:
        with pytest.raises(UnreadableError, match="grew beyond"):
            read_whole(fd, 25)
    finally:
        os.close(fd)
