"""The state folder: the lock that one daemon holds, the catalogue's place, and the status the daemon leaves there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from twinwatch.errors import ConfigError, StateHeldError
from twinwatch.mounts import mount_of


class StateFolder:
    """`state_dir`, made if missing. Raises ConfigError where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state_dir: cannot make {path}: {error.strerror}; choose a writable place") from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError(f"state_dir: {path} is not writable for user id {os.geteuid()}; change its owner")
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
        """Hold the state for this process alone; the kernel frees it however that ends. Raises StateHeldError."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateHeldError(
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
        try:
            with self.held():
                return None
        except StateHeldError:
            return int((self.path / "lock").read_text() or "0")

    def write_status(self, status: dict[str, Any], metrics: dict[str, float]) -> None:
        """Leave the status for `twinwatch status`, and metrics for a node exporter's textfile collector."""
        temporary = self.path / "status.json.tmp"
        temporary.write_text(json.dumps(status), encoding="utf-8")
        temporary.replace(self.path / "status.json")
        registry = CollectorRegistry()
        for name, value in metrics.items():
            Gauge(f"twinwatch_{name}", name.replace("_", " "), registry=registry).set(value)
        write_to_textfile(str(self.path / "metrics.prom"), registry)

    def read_status(self) -> dict[str, Any]:
        """Return what the daemon left last, or an empty mapping."""
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return status
