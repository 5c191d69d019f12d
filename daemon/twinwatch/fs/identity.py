"""File identity: the fields of stat(2) that show whether a file is still the one seen before.

It only calls stat. It never reads a file's content.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from twinwatch.fs.files import open_folder, open_root
from twinwatch.fs.paths import split

_MAX_NS = (1 << 63) - 1

StatTuple = tuple[int, int, int, int, int, int]
"""The fields of a FileIdentity, in order. A scan compares these, as creating an object for each file takes too long."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The identity of a regular file at one moment. Times are nanoseconds since the epoch, clipped to 64 bits."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """Return the identity that a stat result describes."""
        return cls(*stat_tuple(status))

    def same_bytes_as(self, other: FileIdentity) -> bool:
        """True if device, inode, size and mtime are equal. A write changes them; a rename, chmod or link does not."""
        return (self.device, self.inode, self.size_bytes, self.mtime_ns) == (
            other.device,
            other.inode,
            other.size_bytes,
            other.mtime_ns,
        )


def stat_tuple(status: os.stat_result) -> StatTuple:
    """Return the fields of `FileIdentity.of(status)`, in order, without creating the object."""
    mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
    # The kernel counts seconds in 64 bits. As nanoseconds, times before 1677 or after 2262 exceed a database integer.
    if not (-_MAX_NS <= mtime_ns <= _MAX_NS and -_MAX_NS <= ctime_ns <= _MAX_NS):
        mtime_ns, ctime_ns = (max(-_MAX_NS - 1, min(_MAX_NS, time_ns)) for time_ns in (mtime_ns, ctime_ns))
    return status.st_dev, status.st_ino, status.st_size, mtime_ns, ctime_ns, status.st_nlink


def stat_regular(path: bytes, folder_fd: int | None = None) -> FileIdentity | None:
    """Return the identity of the regular file at `path`, or None where there is none.

    A relative path starts at `folder_fd` if that is given. Links are followed, except in the last component.
    Raises OSError where stat fails for another reason.
    """
    try:
        status = os.stat(path, dir_fd=folder_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileIdentity.of(status) if stat.S_ISREG(status.st_mode) else None


def stat_beneath(root: Path, relative: bytes) -> FileIdentity | None:
    """Return the identity of the regular file at `relative` beneath `root`, or None where there is none.

    No component of `relative` may be a link. The path may be longer than the 4095 bytes that one stat call accepts.
    Raises OSError where stat or an open fails for another reason.
    """
    folder, name = split(relative)
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
        return stat_regular(name, folder_fd)
    finally:
        os.close(folder_fd)


def folder_id(root: Path) -> tuple[int, int]:
    """Return (device, inode) of the folder `root`. Raises OSError where it is no folder or cannot be listed."""
    fd = open_root(root)
    try:
        status = os.fstat(fd)
        os.scandir(fd).close()
    finally:
        os.close(fd)
    return status.st_dev, status.st_ino
