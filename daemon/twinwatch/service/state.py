"""The state folder: the lock that one daemon holds, the catalogue's place, and the status the daemon leaves there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twinwatch.errors import ConfigError, StateLockedError
from twinwatch.fs import mount_of
from twinwatch.wording import user_name


class StateFolder:
    """`state_dir`, made if missing. Raises ConfigError where it cannot be used."""

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

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the state for this process alone; the kernel frees it however that ends. Raises StateLockedError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self.path / "lock", flags, 0o640)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # what is written below would go elsewhere
                raise ConfigError(f"state_dir: {self.path / 'lock'} is not a file of its own; remove it")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateLockedError(
                    f"another twinwatch (process {holder}) holds {self.path}; stop it first, "
                    "or give this one a state_dir of its own"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def holder(self) -> int | None:
        """Return the process id of the daemon that holds the state, or None."""
        if not os.path.lexists(self.path / "lock"):
            return None
        try:
            with self.held():
                return None
        except StateLockedError:
            return int((self.path / "lock").read_text() or "0")

    def write_status(self, status: dict[str, Any], metrics: dict[str, float]) -> None:
        """Leave the status for `twinwatch status`, and metrics for a node exporter's textfile collector."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest  # an HTTP server and all

        self._leave("status.json", json.dumps(status).encode())
        registry = CollectorRegistry()
        for name, value in metrics.items():
            Gauge(f"twinwatch_{name}", name.replace("_", " "), registry=registry).set(value)
        self._leave("metrics.prom", generate_latest(registry))

    def _leave(self, name: str, content: bytes) -> None:
        """Replace a file whole; others than the daemon's user and group cannot read it."""
        temporary = self.path / f"{name}.tmp"
        # Made anew, as what lies there could be a link to some other file.
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o640), "wb") as file:
            file.write(content)
        temporary.replace(self.path / name)

    def read_status(self) -> dict[str, Any]:
        """Return what the daemon left last, or an empty mapping."""
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return status
