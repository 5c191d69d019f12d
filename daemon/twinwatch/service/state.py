"""The state folder: its lock, which one process holds at a time, and the paths of what lies in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from twinwatch.errors import ConfigError, StateLockedError
from twinwatch.fs import mount_of
from twinwatch.wording import user_name


class StateFolder:
    """The folder `state_dir`, made if it is missing. Raises ConfigError where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state_dir: cannot make {path}: {error.strerror}; choose a writable place") from None
        if not os.access(path, os.W_OK | os.X_OK):
            owner = user_name(path.stat().st_uid)
            raise ConfigError(
                f"state_dir: {path} belongs to the user {owner}, and {user_name()} may not write to it; "
                f"use sudo, or do this as {owner}"
            )
        mount = mount_of(path)
        if mount.network:
            raise ConfigError(
                f"state_dir: {path} lies on a network file system ({mount.kind}), where SQLite's log does not work; "
                "choose a folder on a local disk"
            )

    @property
    def catalog_path(self) -> Path:
        return self.path / "catalog.db"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock inside the block. The kernel releases it however the process ends.

        Raises StateLockedError while another process holds it, ConfigError where the lock file is no file of its own.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self.lock_path, flags, 0o640)
        try:
            status = os.fstat(fd)
            # The process id is written into the file. Through a hard link it would overwrite a file of somebody else.
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise ConfigError(f"state_dir: {self.lock_path} is not a file of its own; remove it")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateLockedError(
                    f"another twinwatch (process {owner}) holds {self.path}; stop it first, "
                    "or give this one a state_dir of its own"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def lock_owner(self) -> int | None:
        """Return the id of the process that holds the lock, or None."""
        if not os.path.lexists(self.lock_path):
            return None
        try:
            with self.lock():
                return None
        except StateLockedError:
            return int(self.lock_path.read_text() or "0")
