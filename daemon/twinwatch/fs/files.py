"""Files beneath a watched root: opened without following a link, read, and hashed.

It never writes, and it never opens anything but folders and regular files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

from twinwatch.errors import UnreadableError
from twinwatch.fs.paths import split

CHUNK_BYTES = 1 << 20
TRANSIENT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that pass by themselves and say nothing about the file: no free descriptor, or no memory."""
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_root(root: Path) -> int:
    """Return a descriptor of the folder `root`. Links are followed, as the admin chose this path. Raises OSError."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_folder(root_fd: int, relative: bytes) -> int:
    """Return a descriptor of the folder at `relative` beneath the root, following no link. b"" is the root itself.

    Raises OSError, with ELOOP or ENOTDIR where a component is a link, and UnreadableError for a path with "..".
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

    Raises OSError, or UnreadableError where there is a folder, FIFO, socket, device or link at that path.
    """
    folder, name = split(relative)
    folder_fd = open_folder(root_fd, folder)
    try:
        # Opening a FIFO may block and opening a device may start it, so check before the open. Check again after it:
        # another file may have taken the name in between.
        _require_regular(os.stat(name, dir_fd=folder_fd, follow_symlinks=False))
        file_fd = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
    finally:
        os.close(folder_fd)
    try:
        _require_regular(os.fstat(file_fd))
    except UnreadableError:
        os.close(file_fd)
        raise
    # Our reads should not change the access time. The kernel allows this to the owner and to CAP_FOWNER only.
    with contextlib.suppress(OSError):
        fcntl.fcntl(file_fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_NOATIME)
    return file_fd


def hash_file(file_fd: int) -> str:
    """Return the sha256 (hex) of the whole file, whatever the position of the descriptor. Raises OSError."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(file_fd, CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def read_whole(file_fd: int, max_bytes: int) -> tuple[bytes, str]:
    """Return the file's bytes and their sha256 (hex), after reading it once.

    Raises OSError, or UnreadableError for a file of more than `max_bytes`.
    """
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
