"""The way of a file out of the quarantine: back to its path, or beside the file that has that name now.

It never replaces a file, and it creates missing parent folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from itertools import count

from twinwatch.errors import QuarantineError
from twinwatch.fs import join, linux, open_folder, split
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.records import Record
from twinwatch.wording import show_path, user_name

_IN_THE_WAY = {errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EPERM, errno.EACCES}


def put_back(dirs: QuarantineDirs, record: Record, announce: Callable[[bytes], object] | None) -> bytes | None:
    """Move the file out of the quarantine, durably, and return its path beneath the root; None if it is not there.

    `announce`, if given, is called with each path just before the rename to it. Raises QuarantineError where something
    in the folders is in the way, OSError where the storage fails.
    """
    try:
        status = os.stat(record.id, dir_fd=dirs.files, follow_symlinks=False)
    except FileNotFoundError:
        return None
    parent, name = split(record.path)
    # An interrupted link-then-unlink must be completed under the name that the file has already.
    planned = split(record.restored_to)[1] if record.restored_to else name
    with _explain_obstacles(record.path):
        parent_fd = _open_or_create(dirs.root, parent)
    with linux.closing(parent_fd) as folder_fd:
        for candidate in _candidate_names(name, planned, os.fstatvfs(folder_fd).f_namemax):
            if linux.exists(folder_fd, candidate) and not linux.is_same_inode(folder_fd, candidate, status):
                continue
            path = join(parent, candidate)
            if announce:
                announce(path)
            try:
                with _explain_obstacles(record.path):
                    dirs.rename_out(record.id, folder_fd, candidate)
            except FileExistsError:
                continue
            os.fsync(folder_fd)
            os.fsync(dirs.files)
            return path
    raise AssertionError("unreachable: the names never end")


@contextlib.contextmanager
def _explain_obstacles(path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        raise QuarantineError(
            f"{show_path(path)} cannot go back ({error.strerror}) and stays in quarantine: its folder must be a real "
            f"one, on the same mount, that the user {user_name()} may write to"
        ) from error


def _candidate_names(name: bytes, planned: bytes, max_bytes: int) -> Iterator[bytes]:
    """Yield the planned name, the original one, then `stem.restored-N.suffix` without end, cut to `max_bytes`."""
    yield planned
    yield name
    stem, suffix = _split_suffix(name, max_bytes)
    for number in count(1):
        mark = b".restored-%d" % number
        yield stem[: max_bytes - len(mark) - len(suffix)] + mark + suffix


def _split_suffix(name: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """Return stem and suffix. The suffix stays last, so that the scan and other programs still see a picture."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  pathlib knows no bytes
    # A very long suffix is none, and would leave no room for the stem.
    return (stem, suffix) if len(suffix) <= max_bytes // 8 else (name, b"")


def _open_or_create(root_fd: int, parent: bytes) -> int:
    """Return a descriptor of the folder, after creating what is missing of its path. Raises OSError."""
    folder_fd = open_folder(root_fd, b"")
    for name in filter(None, parent.split(b"/")):
        with linux.closing(folder_fd) as above_fd:
            try:
                folder_fd = open_folder(above_fd, name)
            except FileNotFoundError:
                folder_fd = _create_folder(above_fd, name)
    return folder_fd


def _create_folder(above_fd: int, name: bytes) -> int:
    """Create a folder with the mode and owner of the one above it, as far as our rights allow. Raises OSError."""
    try:
        os.mkdir(name, 0o700, dir_fd=above_fd)
    except FileExistsError:
        return open_folder(above_fd, name)
    like = os.fstat(above_fd)
    with contextlib.ExitStack() as on_error:
        folder_fd = open_folder(above_fd, name)
        on_error.callback(os.close, folder_fd)
        if not _is_just_created(folder_fd):  # a user has put another one there, which keeps its owner and mode
            on_error.pop_all()
            return folder_fd
        # A sandbox may refuse the set-id bits, and only root may change the owner. The owner is set first, as changing
        # it clears the set-id bits.
        with contextlib.suppress(PermissionError):
            os.fchown(folder_fd, like.st_uid, like.st_gid)
        try:
            os.fchmod(folder_fd, stat.S_IMODE(like.st_mode))
        except PermissionError:
            os.fchmod(folder_fd, like.st_mode & 0o777)
        os.fsync(above_fd)
        on_error.pop_all()
    return folder_fd


def _is_just_created(folder_fd: int) -> bool:
    status = os.fstat(folder_fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o777 != 0o700:
        return False
    return not os.listdir(folder_fd)
