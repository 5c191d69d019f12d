"""System calls that the quarantine needs and Python lacks: no-replace rename, read leases, mount ids.

Each function wraps one kernel facility with its quirks. None of them decides anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RENAME_NOREPLACE = 1
_LEASE_TRIES = 5
_LEASE_WAIT_S = 0.05


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close the descriptor at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def rename_no_replace(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    """Rename a file from one open folder to another, never replacing anything: renameat2(2) with RENAME_NOREPLACE.

    Raises OSError: EEXIST where the name is taken, EINVAL or ENOSYS where the file system or C library lacks the call.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    ctypes.set_errno(0)
    if library.renameat2(from_fd, from_name, to_fd, to_name, ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def link_then_unlink(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    """Move a file without replacing anything, where `rename_no_replace` is not supported.

    Use it only to move out of a folder that nobody else writes to: unlink goes by name, so in a user's folder it could
    delete a file that was put there a moment ago. A call that was cut short is completed by calling it again. Raises
    OSError: EEXIST where the name is taken.
    """
    source = os.stat(from_name, dir_fd=from_fd, follow_symlinks=False)
    if stat.S_ISDIR(source.st_mode):
        # A folder cannot be linked, but rename(2) never puts one over anything except an empty folder.
        os.rename(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return
    if not is_same_inode(to_fd, to_name, source):
        os.link(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    os.fsync(to_fd)
    os.unlink(from_name, dir_fd=from_fd)


def is_same_inode(folder_fd: int, name: bytes, status: os.stat_result) -> bool:
    """True if the name in this folder is the inode that `status` describes. Raises OSError other than ENOENT."""
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, status)


def exists(folder_fd: int, name: bytes) -> bool:
    """True if the name is taken, also by a link that leads nowhere. Raises OSError other than ENOENT."""
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def can_hardlink(fd: int) -> bool:
    """True if this user may make a hard link to the file, even with fs.protected_hardlinks set (proc_sys_fs(5))."""
    if os.fstat(fd).st_uid == os.geteuid():
        return True
    return os.access(f"/proc/self/fd/{fd}", os.R_OK | os.W_OK, effective_ids=True)


def mount_id(fd: int) -> int:
    """Return the id of the mount through which the descriptor was opened. Raises OSError.

    Two bind mounts of one file system share st_dev, but not this id.
    """
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text("ascii").splitlines():
        if line.startswith("mnt_id:"):
            return int(line.split()[1])
    raise OSError(errno.ENOTSUP, "the kernel tells no mount ids")


@dataclass(frozen=True, slots=True)
class Lease:
    """A read lease on an open file. `held` is False where the file system or this user's rights do not allow one."""

    fd: int
    held: bool

    def is_broken(self) -> bool:
        """True once a process has tried to write: it waits for the release, at most lease-break-time seconds."""
        return self.held and fcntl.fcntl(self.fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK


@contextlib.contextmanager
def read_lease(fd: int) -> Iterator[Lease]:
    """Hold a read lease on a file opened read-only, where the kernel grants one.

    Raises BlockingIOError while a process has the file open for writing.
    """
    # The kernel reports a broken lease by SIGIO, which ends the process by default and which only the main thread could
    # handle. SIGURG is ignored by default. Set it before the lease is taken, or the first report is still SIGIO.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    lease = Lease(fd, held=_take_lease(fd))
    try:
        yield lease
    finally:
        if lease.held:
            # EAGAIN: the kernel has revoked it after lease-break-time. A lease also ends with its descriptor.
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _take_lease(fd: int) -> bool:
    for tries_left in reversed(range(_LEASE_TRIES)):
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            if not tries_left:
                raise
            time.sleep(_LEASE_WAIT_S)
        except OSError:
            # EACCES: this user neither owns the file nor has CAP_LEASE. EINVAL: the file system has no leases.
            return False
        else:
            return True
    raise AssertionError("unreachable")
