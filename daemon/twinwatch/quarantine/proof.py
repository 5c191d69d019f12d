"""The checks of a move: the bytes and the path are the judged ones, and the original is in place with its bytes.

These checks only read. A failed one is an error that says why the file stays where it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from twinwatch.errors import UnreadableError
from twinwatch.fs import FileIdentity, hash_file, linux, open_beneath, open_folder, open_root, split
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.errors import ChangedError, NotMovableError, translate_errors
from twinwatch.quarantine.records import MoveOrder, Record
from twinwatch.wording import show_path


@dataclass(frozen=True, slots=True)
class LeasedFile:
    """An open file, under a read lease where one can be had, and the sha256 (hex) that its bytes must have."""

    path: bytes  # for messages
    sha256: str
    fd: int
    lease: linux.Lease

    def require_bytes(self) -> None:
        """Raise ChangedError unless the bytes are the judged ones and no process waits to write. Raises OSError."""
        if hash_file(self.fd) != self.sha256:
            raise ChangedError(f"the bytes of {show_path(self.path)} are not those that were judged")
        # A writer waits for our lease. Abort, so that the file is still at its path when we release it.
        if self.lease.is_broken():
            raise ChangedError(f"{show_path(self.path)} is about to be written")


def lease(stack: contextlib.ExitStack, path: bytes, sha256: str, fd: int) -> LeasedFile:
    """Take a read lease on an open file until the stack is closed, where the file system and our rights allow one.

    Raises ChangedError while a process has the file open for writing.
    """
    try:
        held = stack.enter_context(linux.read_lease(fd))
    except BlockingIOError as error:
        raise ChangedError(f"{show_path(path)} is being written") from error
    return LeasedFile(path, sha256, fd, held)


def require_movable(dirs: QuarantineDirs, order: MoveOrder, fd: int) -> None:
    """Check that the open file has the judged identity and one link, and that it can be moved and restored.

    Raises ChangedError, NotMovableError, OSError.
    """
    path, status = show_path(order.path), os.fstat(fd)
    if status.st_nlink > 1:
        raise NotMovableError(f"{path} has {status.st_nlink} hard links, so moving one would free nothing")
    if FileIdentity.of(status) != order.identity:
        raise ChangedError(f"{path} was changed since it was judged")
    if linux.mount_id(fd) != linux.mount_id(dirs.files):
        raise NotMovableError(f"{path} lies on another mount than the quarantine of its root")
    if not dirs.no_replace and not linux.can_hardlink(fd):
        raise NotMovableError(f"{path} belongs to somebody else, and on this file system it could not be restored")


def require_original(order: MoveOrder, original: LeasedFile, copy_fd: int) -> None:
    """Check that the original is another file than the copy, is still at its path, and has the judged bytes.

    Raises ChangedError, NotMovableError, OSError.
    """
    status = os.fstat(original.fd)
    if os.path.samestat(status, os.fstat(copy_fd)):
        raise NotMovableError(f"{show_path(order.path)} and its original are one file")
    parent, name = split(order.original_path)
    with translate_errors(order.original_path), contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(Path(order.original_root))))
        folder_fd = stack.enter_context(linux.closing(open_folder(root_fd, parent)))
        if not stat.S_ISREG(status.st_mode) or not linux.is_same_inode(folder_fd, name, status):
            raise ChangedError(f"the original {show_path(order.original_path)} is not there any more")
    original.require_bytes()


def require_moved(dirs: QuarantineDirs, order: MoveOrder, copy: LeasedFile) -> None:
    """Check, after the rename, that the judged file is the one in quarantine. Raises ChangedError, OSError."""
    # Between the last check of the path and the rename, the user may have put another file there.
    status = os.fstat(copy.fd)
    if not linux.is_same_inode(dirs.files, order.id.encode(), status) or status.st_nlink != 1:
        raise ChangedError(f"{show_path(order.path)} was replaced or linked while it was moved")
    copy.require_bytes()


def can_complete(dirs: QuarantineDirs, record: Record) -> bool:
    """True if an interrupted move can be completed: the file in quarantine and its original have the judged bytes.

    The file must also have no other link. Raises OSError.
    """
    status = os.stat(record.id, dir_fd=dirs.files, follow_symlinks=False)
    if status.st_nlink != 1 or not has_bytes(dirs.files, record.id.encode(), record.sha256):
        return False
    try:
        root_fd = open_root(Path(record.original_root))
    except OSError:
        return False
    with linux.closing(root_fd):
        return has_bytes(root_fd, record.original_path, record.original_sha256)


def is_intact(dirs: QuarantineDirs, record: Record) -> bool:
    """True if the file of a finished move still has the judged bytes and no other link. Raises OSError.

    A second link means that the file was on its way back. Other bytes mean that a process which had the file open wrote
    to it after the move. Where size and mtime are unchanged, the file is not read.
    """
    status = os.stat(record.id, dir_fd=dirs.files, follow_symlinks=False)
    if status.st_nlink != 1:
        return False
    if (status.st_size, status.st_mtime_ns) == (record.identity.size_bytes, record.identity.mtime_ns):
        return True
    return has_bytes(dirs.files, record.id.encode(), record.sha256)


def has_bytes(root_fd: int, path: bytes, sha256: str) -> bool:
    """True if there is a regular file at `path` that can be opened and has these bytes. Raises OSError in reading."""
    try:
        fd = open_beneath(root_fd, path)
    except (OSError, UnreadableError):
        return False
    with linux.closing(fd):
        return hash_file(fd) == sha256
