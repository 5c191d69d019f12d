"""Opens a file without following links and reads it once: identity, sha256 and bytes.

It never writes, and it never opens anything that is not a regular file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from twinwatch.errors import UnreadableError

CHUNK_BYTES = 1 << 20
TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What passes by itself and says nothing about a file: no descriptor, or no memory, can be had."""
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_NS = (1 << 63) - 1
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


StatTuple = tuple[int, int, int, int, int, int]
"""The fields of an Identity in their order: what a scan compares, which has no time to make objects."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells that a file is still the one that was seen; times in nanoseconds since the epoch, in 64 bits."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        return cls(*stat_tuple(status))

    def same_bytes_as(self, other: FileIdentity) -> bool:
        """True while inode, size and mtime are equal: renaming, chmod and new links keep it, writing does not."""
        return (self.device, self.inode, self.size_bytes, self.mtime_ns) == (
            other.device,
            other.inode,
            other.size_bytes,
            other.mtime_ns,
        )


def stat_tuple(status: os.stat_result) -> StatTuple:
    mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    # Seconds have 64 bits, so that nanoseconds can outgrow what a database holds: before 1677 and after 2262.
    if not (-_MOST_NS <= mtime_ns <= _MOST_NS and -_MOST_NS <= ctime_ns <= _MOST_NS):
        mtime_ns, ctime_ns = (max(-_MOST_NS - 1, min(_MOST_NS, time_ns)) for time_ns in (mtime_ns, ctime_ns))
    return status.st_dev, status.st_ino, status.st_size, mtime_ns, ctime_ns, status.st_nlink


def open_root(root: Path) -> int:
    """Return a descriptor of the folder `root`, following links: that path is the admin's. Raises OSError."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def folder_id(root: Path) -> tuple[int, int]:
    """Return (device, inode) of the root as it is now. Raises OSError where it is no folder or cannot be opened."""
    fd = open_root(root)
    try:
        status = os.fstat(fd)
        os.scandir(fd).close()
    finally:
        os.close(fd)
    return status.st_dev, status.st_ino


def open_folder(root_fd: int, relative: bytes) -> int:
    """Return a descriptor of the folder at `relative` beneath the root (b"" is the root), following no link.

    Raises OSError: ELOOP or ENOTDIR where a component is a link.
    """
    folder_fd = os.open(".", _FOLDER_FLAGS, dir_fd=root_fd)
    for name in relative.split(b"/"):
        if not name:
            continue
        if name == b"..":
            os.close(folder_fd)
            raise UnreadableError(f"path leaves its root: {os.fsdecode(relative)!r}")
        try:
            next_fd = os.open(name, _FOLDER_FLAGS, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)
        folder_fd = next_fd
    return folder_fd


def open_beneath(root_fd: int, relative: bytes) -> int:
    """Return a read-only descriptor of the regular file at `relative` beneath the root, following no link.

    Raises OSError, or UnreadableError where the name leads to a folder, FIFO, socket or device.
    """
    folder, _, name = relative.rpartition(b"/")
    folder_fd = open_folder(root_fd, folder)
    try:
        # Opening a FIFO or device may block or act, so the kind is looked at before and after.
        _require_regular(os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
        file_fd = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
    finally:
        os.close(folder_fd)
    try:
        _require_regular(os.fstat(file_fd))
    except UnreadableError:
        os.close(file_fd)
        raise
    # Reading is no use of the file; the kernel grants this to its owner and to CAP_FOWNER only.
    with contextlib.suppress(OSError):
        fcntl.fcntl(file_fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_NOATIME)
    return file_fd


def look(path: bytes, folder_fd: int | None = None) -> FileIdentity | None:
    """Return what identifies the regular file at `path`, or None where there is none. Raises OSError otherwise."""
    try:
        status = os.stat(path, dir_fd=folder_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileIdentity.of(status) if stat.S_ISREG(status.st_mode) else None


def stat_beneath(root: Path, relative: bytes) -> FileIdentity | None:
    """Return what `look` does for a path beneath the root, following no link on the way, however long the path is.

    A path of more than 4095 bytes cannot be asked for as a whole. Raises OSError.
    """
    folder, _, name = relative.rpartition(b"/")
    root_fd = open_root(root)
    try:
        folder_fd = open_folder(root_fd, folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    finally:
        os.close(root_fd)
    try:
        return look(name, folder_fd)
    finally:
        os.close(folder_fd)


def hash_file(file_fd: int) -> str:
    """Return the sha256 (hex) of the whole file, from its first byte, whatever the descriptor's position."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(file_fd, CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def read_whole(file_fd: int, max_bytes: int) -> tuple[bytes, str]:
    """Return the file's bytes and their sha256 (hex), read once. Raises UnreadableError above `max_bytes`."""
    size_bytes = os.fstat(file_fd).st_size
    if size_bytes > max_bytes:
        raise UnreadableError(f"larger than limits.max_file_mb: {size_bytes / 1e6:.0f} MB")
    chunks: list[bytes] = []
    read_bytes = 0
    while chunk := os.pread(file_fd, CHUNK_BYTES, read_bytes):
        chunks.append(chunk)
        read_bytes += len(chunk)
        if read_bytes > max_bytes:
            raise UnreadableError("grew beyond limits.max_file_mb while it was read")
    data = b"".join(chunks)
    return data, hashlib.sha256(data).hexdigest()


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
