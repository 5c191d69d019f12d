"""The private folder beneath a watched root: `.twinwatch/quarantine/{info,files}`, made, checked and locked.

It knows neither records nor pictures, and never follows a link beneath the root.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from twinwatch.errors import QuarantineError
from twinwatch.fs import PRIVATE_FOLDER, linux, open_folder, open_root
from twinwatch.wording import user_name

FILES = PRIVATE_FOLDER + b"/quarantine/files"

_LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.05
_PROBES = (b"probe-a", b"probe-b")
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


class BusyError(QuarantineError):
    """Another process has been at work in this quarantine for too long; nothing was touched, try later."""


@dataclass(frozen=True, slots=True)
class QuarantineDirs:
    """Open descriptors for one operation, and the way files go in and out here."""

    root: int
    private: int
    quarantine: int
    info: int
    files: int
    no_replace: bool = False  # the file system can rename without replacing

    def take_in(self, folder_fd: int, name: bytes, record_id: str) -> None:
        """Rename a user's file into quarantine. Raises OSError."""
        if self.no_replace:
            linux.rename_no_replace(folder_fd, name, self.files, record_id.encode())
        else:
            # The caller saw under the lock that nothing has this id, and nobody else writes here.
            os.rename(name, record_id, src_dir_fd=folder_fd, dst_dir_fd=self.files)

    def put_out(self, record_id: str, folder_fd: int, name: bytes) -> None:
        """Rename a file out of quarantine. Raises OSError: EEXIST where the name is taken."""
        if self.no_replace:
            linux.rename_no_replace(self.files, record_id.encode(), folder_fd, name)
        else:
            linux.link_then_unlink(self.files, record_id.encode(), folder_fd, name)


def make(root: Path) -> None:
    """Create what is missing and make it private. Raises OSError, or QuarantineError that says what is in the way."""
    with contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(root)))
        private = _made(stack, root_fd, PRIVATE_FOLDER)
        quarantine = _made(stack, private, b"quarantine")
        for name in (b"info", b"files"):
            _made(stack, quarantine, name)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[QuarantineDirs]:
    """Open and check the folders, for reading only. Raises OSError (ENOENT where `make` never ran), QuarantineError."""
    with contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(root)))
        mount = linux.mount_id(root_fd)
        private = _checked(stack, root_fd, PRIVATE_FOLDER, mount)
        quarantine = _checked(stack, private, b"quarantine", mount)
        info = _checked(stack, quarantine, b"info", mount)
        files = _checked(stack, quarantine, b"files", mount)
        yield QuarantineDirs(root_fd, private, quarantine, info, files)


@contextlib.contextmanager
def locked(root: Path, *, no_replace: bool | None) -> Iterator[QuarantineDirs]:
    """Open the folders while no other process or thread has them locked; find out about `no_replace` if it is None.

    Raises OSError (ENOENT where `make` never ran or the mount is gone), QuarantineError, BusyError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened(root) as folders, linux.closing(os.open("lock", flags, 0o600, dir_fd=folders.private)) as lock_fd:
        _lock(lock_fd, root)
        yield replace(folders, no_replace=_can_refuse(folders.quarantine) if no_replace is None else no_replace)


def stir(root: Path) -> None:
    """Make an empty file in the private folder and remove it again, so that its events come round.

    Its name is a new one every time: what is there already is neither opened, followed nor changed. Raises OSError,
    QuarantineError.
    """
    name = b"cookie-" + uuid.uuid4().hex.encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(root) as folders:
        os.close(os.open(name, flags, 0o600, dir_fd=folders.private))
        os.unlink(name, dir_fd=folders.private)


def _can_refuse(folder_fd: int) -> bool:
    """Try whether rename can refuse to replace. Raises QuarantineError where link cannot either."""
    one, two = _PROBES
    with contextlib.ExitStack() as stack:
        for name in _PROBES:
            _remove(folder_fd, name)
            stack.callback(_remove, folder_fd, name)
        _touch(folder_fd, one)
        try:
            # The kernel answers EEXIST before it asks the file system, so only a free name shows what that knows.
            linux.rename_no_replace(folder_fd, one, folder_fd, two)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            _require_link(folder_fd, one, two)
            return False
    return True


def _require_link(folder_fd: int, one: bytes, two: bytes) -> None:
    try:
        os.link(one, two, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        raise QuarantineError(
            "this file system can neither rename without replacing nor link, so a restore could destroy a file: "
            "use `action: flag` here"
        ) from error


def _made(stack: contextlib.ExitStack, parent_fd: int, name: bytes) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        pass
    else:
        os.fsync(parent_fd)
    fd = _entered(stack, parent_fd, name)
    # Only what is ours: a folder of someone else keeps its mode, and `_checked` refuses it.
    status = os.fstat(fd)
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        os.fchmod(fd, 0o700)
    return fd


def _checked(stack: contextlib.ExitStack, parent_fd: int, name: bytes, mount: int) -> int:
    fd = _entered(stack, parent_fd, name)
    status = os.fstat(fd)
    shown = _shown(parent_fd, name)
    if status.st_uid != os.geteuid():
        raise QuarantineError(
            f"{shown} belongs to {user_name(status.st_uid)}, not to {user_name()}: run twinwatch as that user, "
            "or remove the folder if twinwatch did not make it"
        )
    if status.st_mode & 0o077:
        raise QuarantineError(
            f"{shown} has mode {stat.S_IMODE(status.st_mode):o} where 700 is needed: chmod it, "
            "or use `action: flag` if the file system keeps no modes"
        )
    if linux.mount_id(fd) != mount:
        raise QuarantineError(f"{shown} is another mount than its root, so nothing can be renamed into it: unmount it")
    return fd


def _entered(stack: contextlib.ExitStack, parent_fd: int, name: bytes) -> int:
    try:
        fd = open_folder(parent_fd, name)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
            raise
        raise QuarantineError(
            f"{_shown(parent_fd, name)} is a link or a file where a folder is needed: remove it"
        ) from error
    return stack.enter_context(linux.closing(fd))


def _shown(folder_fd: int, name: bytes) -> Path:
    return Path(f"/proc/self/fd/{folder_fd}").readlink() / os.fsdecode(name)


def _lock(fd: int, root: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            # Bounded, or a stopped `twinwatch restore` would hold up the daemon's committing thread for ever.
            if time.monotonic() > deadline:
                raise BusyError(f"{root}: another twinwatch process has held the quarantine's lock too long") from error
            time.sleep(_LOCK_POLL_S)
        else:
            return


def _touch(folder_fd: int, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder_fd))


def _remove(folder_fd: int, name: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)
