"""What must hold at the moment a file is moved: the judged bytes, under their name, and a living original.

It only looks; a proof that fails is an error that says why the file stays where it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinwatch.errors import QuarantineError, UnreadableError
from twinwatch.fs import FileIdentity, hash_file, linux, open_beneath, open_folder, open_root, split
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.records import MoveOrder, Record
from twinwatch.wording import show_path

_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_REFUSED = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EBUSY}


class ChangedError(QuarantineError):
    """The file or its original is not what was judged, or is being written: it stays where it is, judge it again."""


class NotMovableError(QuarantineError):
    """The file cannot be moved here, now or later: it stays where it is, flag it instead."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An open file whose bytes must be, and stay, the judged ones."""

    path: bytes
    sha256: str
    fd: int
    lease: linux.Lease

    def require_bytes(self) -> None:
        """Raises ChangedError, OSError."""
        if hash_file(self.fd) != self.sha256:
            raise ChangedError(f"the bytes of {show_path(self.path)} are not those that were judged")
        # Who waits for the lease must find the file under the name they opened once it is given up.
        if self.lease.is_broken():
            raise ChangedError(f"{show_path(self.path)} is about to be written")


def pin(stack: contextlib.ExitStack, path: bytes, sha256: str, fd: int) -> Pinned:
    """Keep writers away until the stack is left, where that can be done. Raises ChangedError while one is at work."""
    try:
        lease = stack.enter_context(linux.read_lease(fd))
    except BlockingIOError as error:
        raise ChangedError(f"{show_path(path)} is being written") from error
    return Pinned(path, sha256, fd, lease)


def require_movable(folders: QuarantineDirs, order: MoveOrder, fd: int) -> None:
    """Raises ChangedError, NotMovableError, OSError."""
    path, status = show_path(order.path), os.fstat(fd)
    if status.st_nlink > 1:
        raise NotMovableError(f"{path} has {status.st_nlink} hard links, so moving one would free nothing")
    if FileIdentity.of(status) != order.identity:
        raise ChangedError(f"{path} was changed since it was judged")
    if linux.mount_id(fd) != linux.mount_id(folders.files):
        raise NotMovableError(f"{path} lies on another mount than the quarantine of its root")
    if not folders.no_replace and not linux.can_hardlink(fd):
        raise NotMovableError(f"{path} belongs to somebody else, and on this file system it could not be restored")


def require_original(order: MoveOrder, original: Pinned, copy_fd: int) -> None:
    """Raises ChangedError, NotMovableError, OSError."""
    status = os.fstat(original.fd)
    if os.path.samestat(status, os.fstat(copy_fd)):
        raise NotMovableError(f"{show_path(order.path)} and its original are one file")
    parent, name = split(order.original_path)
    with refusals(order.original_path), contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(Path(order.original_root))))
        folder_fd = stack.enter_context(linux.closing(open_folder(root_fd, parent)))
        if not stat.S_ISREG(status.st_mode) or not linux.is_same_inode(folder_fd, name, status):
            raise ChangedError(f"the original {show_path(order.original_path)} is not there any more")
    original.require_bytes()


def require_taken(folders: QuarantineDirs, order: MoveOrder, copy: Pinned) -> None:
    """Raises ChangedError, OSError."""
    # Between the last look at the name and the rename, the user may have put another file there.
    status = os.fstat(copy.fd)
    if not linux.is_same_inode(folders.files, order.id.encode(), status) or status.st_nlink != 1:
        raise ChangedError(f"{show_path(order.path)} was replaced or linked while it was moved")
    copy.require_bytes()


def may_stand(folders: QuarantineDirs, record: Record) -> bool:
    """True if a move that was cut short after its rename is good: right bytes, no other name, living original."""
    status = os.stat(record.id, dir_fd=folders.files, follow_symlinks=False)
    if status.st_nlink != 1 or not has_bytes(folders.files, record.id.encode(), record.sha256):
        return False
    try:
        root_fd = open_root(Path(record.original_root))
    except OSError:
        return False
    with linux.closing(root_fd):
        return has_bytes(root_fd, record.original_path, record.original_sha256)


def still_stands(folders: QuarantineDirs, record: Record) -> bool:
    """True unless a finished move was half undone, or somebody who had the file open has written to it since."""
    status = os.stat(record.id, dir_fd=folders.files, follow_symlinks=False)
    if status.st_nlink != 1:
        return False
    if (status.st_size, status.st_mtime_ns) == (record.identity.size_bytes, record.identity.mtime_ns):
        return True
    return has_bytes(folders.files, record.id.encode(), record.sha256)


def has_bytes(root_fd: int, path: bytes, sha256: str) -> bool:
    """True if a regular file with these bytes can be opened there. Raises OSError where reading it fails."""
    try:
        fd = open_beneath(root_fd, path)
    except (OSError, UnreadableError):
        return False
    with linux.closing(fd):
        return hash_file(fd) == sha256


@contextlib.contextmanager
def refusals(path: bytes) -> Iterator[None]:
    """Tell a user's change and missing rights from a fault: raises ChangedError, NotMovableError, else OSError."""
    try:
        yield
    except UnreadableError as error:
        raise ChangedError(f"{show_path(path)}: {error}") from error
    except OSError as error:
        if error.errno in _VANISHED:
            raise ChangedError(f"{show_path(path)} is not there any more") from error
        if error.errno in _REFUSED:
            raise NotMovableError(f"nothing can be moved because of {show_path(path)}: {error.strerror}") from error
        raise
