"""What the daemon leaves in its state folder for others: status.json for `twinwatch status`, metrics for Prometheus."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_status(state_dir: Path, status: dict[str, Any], metrics: dict[str, float]) -> None:
    """Write status.json, and metrics.prom for the textfile collector of a Prometheus node exporter. Raises OSError."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest  # loads an HTTP server

    _write_atomic(state_dir / "status.json", json.dumps(status).encode())
    registry = CollectorRegistry()
    for name, value in metrics.items():
        Gauge(f"twinwatch_{name}", name.replace("_", " "), registry=registry).set(value)
    _write_atomic(state_dir / "metrics.prom", generate_latest(registry))


def read_status(state_dir: Path) -> dict[str, Any]:
    """Return the status that the daemon wrote last; empty if there is none or it is damaged."""
    try:
        status: dict[str, Any] = json.loads((state_dir / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return status


def _write_atomic(path: Path, content: bytes) -> None:
    """Replace a file as a whole. Only the daemon's user and group can read the new one."""
    temporary = path.with_name(f"{path.name}.tmp")
    # Removed and created anew: a link at this path would lead to another file.
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o640), "wb") as file:
        file.write(content)
    temporary.replace(path)
