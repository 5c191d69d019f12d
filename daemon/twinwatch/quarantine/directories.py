"""The quarantine's directories beneath a watched root, `.twinwatch/quarantine/{info,files}`: created, checked, locked.

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
from twinwatch.fs import PRIVATE_FOLDER, join, linux, open_folder, open_root
from twinwatch.quarantine.errors import BusyError
from twinwatch.wording import user_name

FILES_PATH = PRIVATE_FOLDER + b"/quarantine/files"
"""The folder of the quarantined files, relative to the root."""

_LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.05
_PROBES = (b"probe-a", b"probe-b")
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


@dataclass(frozen=True, slots=True)
class QuarantineDirs:
    """Open descriptors of the root and of the quarantine's directories, for one operation."""

    path: Path  # of the root, for messages
    root: int
    private: int
    quarantine: int
    info: int
    files: int
    no_replace: bool = False  # the file system can rename without replacing

    def rename_in(self, folder_fd: int, name: bytes, record_id: str) -> None:
        """Rename a user's file into the quarantine. Raises OSError."""
        if self.no_replace:
            linux.rename_no_replace(folder_fd, name, self.files, record_id.encode())
        else:
            # The caller has checked under the lock that this id is unused, and nobody else writes to this directory.
            os.rename(name, record_id, src_dir_fd=folder_fd, dst_dir_fd=self.files)

    def rename_out(self, record_id: str, folder_fd: int, name: bytes) -> None:
        """Rename a file out of the quarantine, replacing nothing. Raises OSError: EEXIST where the name is taken."""
        if self.no_replace:
            linux.rename_no_replace(self.files, record_id.encode(), folder_fd, name)
        else:
            linux.link_then_unlink(self.files, record_id.encode(), folder_fd, name)


def quarantined_path(record_id: str) -> bytes:
    """Return where the file of a record lies while it is in quarantine, relative to the root."""
    return join(FILES_PATH, record_id.encode())


def create(root: Path) -> None:
    """Create the directories that are missing, durably, and make them private.

    Raises OSError, or QuarantineError with what to do where a link or file has the name of a directory.
    """
    with contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(root)))
        private = _create_one(stack, root_fd, PRIVATE_FOLDER)
        quarantine = _create_one(stack, private, b"quarantine")
        for name in (b"info", b"files"):
            _create_one(stack, quarantine, name)


@contextlib.contextmanager
def open_dirs(root: Path) -> Iterator[QuarantineDirs]:
    """Open the directories without the lock, for reading, and check their owner, mode and mount.

    Raises OSError (ENOENT where `create` never ran) or QuarantineError.
    """
    with contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(root)))
        mount = linux.mount_id(root_fd)
        private = _open_private(stack, root_fd, PRIVATE_FOLDER, mount)
        quarantine = _open_private(stack, private, b"quarantine", mount)
        info = _open_private(stack, quarantine, b"info", mount)
        files = _open_private(stack, quarantine, b"files", mount)
        yield QuarantineDirs(root, root_fd, private, quarantine, info, files)


@contextlib.contextmanager
def lock_dirs(root: Path, *, no_replace: bool | None) -> Iterator[QuarantineDirs]:
    """Open the directories and hold their lock, which excludes other threads and processes.

    `no_replace` says whether the file system can rename without replacing; None has it tried. Raises OSError (ENOENT
    where `create` never ran or the mount is gone), QuarantineError, or BusyError after half a minute.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open_dirs(root) as dirs, linux.closing(os.open("lock", flags, 0o600, dir_fd=dirs.private)) as lock_fd:
        _lock(lock_fd, root)
        yield replace(dirs, no_replace=_supports_no_replace(dirs.quarantine) if no_replace is None else no_replace)


def touch_cookie(root: Path) -> None:
    """Create an empty file in the private folder and delete it, so that a watcher of the root gets its events.

    Its name is new every time, so no existing file is opened, followed or changed. Raises OSError, QuarantineError.
    """
    name = b"cookie-" + uuid.uuid4().hex.encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open_dirs(root) as dirs:
        os.close(os.open(name, flags, 0o600, dir_fd=dirs.private))
        os.unlink(name, dir_fd=dirs.private)


def _supports_no_replace(folder_fd: int) -> bool:
    """Try a no-replace rename. Raises QuarantineError where hard links, the fallback, are refused too."""
    one, two = _PROBES
    with contextlib.ExitStack() as stack:
        for name in _PROBES:
            _remove(folder_fd, name)
            stack.callback(_remove, folder_fd, name)
        _create_empty(folder_fd, one)
        try:
            # For a taken name the kernel answers EEXIST without asking the file system, so the probe needs a free one.
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


def _create_one(stack: contextlib.ExitStack, parent_fd: int, name: bytes) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        pass
    else:
        os.fsync(parent_fd)
    fd = _open_directory(stack, parent_fd, name)
    # Another user's directory keeps its mode; `_open_private` then refuses it.
    status = os.fstat(fd)
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        os.fchmod(fd, 0o700)
    return fd


def _open_private(stack: contextlib.ExitStack, parent_fd: int, name: bytes, mount: int) -> int:
    """Open a directory that belongs to this user alone and lies on the root's mount, or raise QuarantineError."""
    fd = _open_directory(stack, parent_fd, name)
    status = os.fstat(fd)
    shown = _path_of(parent_fd, name)
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


def _open_directory(stack: contextlib.ExitStack, parent_fd: int, name: bytes) -> int:
    try:
        fd = open_folder(parent_fd, name)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
            raise
        raise QuarantineError(
            f"{_path_of(parent_fd, name)} is a link or a file where a folder is needed: remove it"
        ) from error
    return stack.enter_context(linux.closing(fd))


def _path_of(folder_fd: int, name: bytes) -> Path:
    return Path(f"/proc/self/fd/{folder_fd}").readlink() / os.fsdecode(name)


def _lock(fd: int, root: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            # Bounded, as a stopped `twinwatch restore` would otherwise block the daemon's committing thread for ever.
            if time.monotonic() > deadline:
                raise BusyError(f"{root}: another twinwatch process has held the quarantine's lock too long") from error
            time.sleep(_LOCK_POLL_S)
        else:
            return


def _create_empty(folder_fd: int, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder_fd))


def _remove(folder_fd: int, name: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)
