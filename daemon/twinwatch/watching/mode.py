"""How changes in a root are noticed: by events and scans, or by scans alone."""

from __future__ import annotations

from twinwatch.config import Watch
from twinwatch.fs import mount_of


def uses_events(watch: Watch) -> bool:
    """Return True if events are used for a root: as configured, or where its file system reports every change."""
    return watch.mode == "events" or (watch.mode == "auto" and not mount_of(watch.path).network)
