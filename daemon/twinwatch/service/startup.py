"""What must hold before the daemon starts, besides a valid configuration."""

from __future__ import annotations

import os
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.errors import ConfigError
from twinwatch.fs import why_unusable
from twinwatch.store import open_store


def require_known_roots(settings: Settings, source: Path, catalog_path: Path) -> None:
    """Refuse watched folders that are unusable now and that the catalogue does not know, as mistakes in `source`.

    A folder that the catalogue knows was usable before: it is offline, and the daemon waits for it to come back.
    Raises ConfigError that names each refused folder, one a line.
    """
    unusable = {number: why for number, watch in enumerate(settings.watch) if (why := why_unusable(watch.path))}
    if not unusable:
        return
    known: set[bytes] = set()
    if catalog_path.exists():
        store = open_store(catalog_path)
        known = {root.path for root in store.roots.all()}
        store.close()
    lines = [
        f"watch[{number}].path: {why}"
        for number, why in unusable.items()
        if os.fsencode(settings.watch[number].path) not in known
    ]
    if lines:
        raise ConfigError(f"{source} is refused:", *lines)
