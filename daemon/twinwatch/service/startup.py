"""What must hold before the daemon starts, beyond a configuration that is valid in itself."""

from __future__ import annotations

import os
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.errors import ConfigError
from twinwatch.fs import why_unusable
from twinwatch.store import Catalog


def require_known_roots(settings: Settings, source: Path, catalog_path: Path) -> None:
    """Raises ConfigError that names each folder that cannot be had and never was watched: a mistake in `source`.

    One that was watched before is away, and taken up when it is back.
    """
    missing = {number: why for number, watch in enumerate(settings.watch) if (why := why_unusable(watch.path))}
    if not missing:
        return
    known: set[bytes] = set()
    if catalog_path.exists():
        catalog = Catalog(catalog_path)
        known = {root.path for root in catalog.roots()}
        catalog.close()
    lines = [
        f"watch[{number}].path: {why}"
        for number, why in missing.items()
        if os.fsencode(settings.watch[number].path) not in known
    ]
    if lines:
        raise ConfigError(f"{source} is refused:", *lines)
