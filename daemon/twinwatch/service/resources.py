"""What the daemon works with under one configuration, and may fail to get: bundle, encoder, catalogue, log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from twinwatch.config import Settings, load_settings
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.reporting import DuplicatesLog
from twinwatch.search import Bundle, Encoder, bundle_path, load_bundle
from twinwatch.service.startup import require_known_roots
from twinwatch.service.systemd import notify
from twinwatch.store import Store, open_store

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class Resources:
    """Opened before a Daemon is built, and on a reload before the old Daemon ends: a failure costs nothing."""

    settings: Settings
    store_path: Path
    bundle: Bundle
    encoder: Encoder
    store: Store
    log: DuplicatesLog

    def close(self) -> None:
        self.store.close()
        self.log.close()


def open_resources(settings: Settings, store_path: Path) -> Resources:
    """Open what a configuration asks for. Raises TwinwatchError; then nothing is left open."""
    bundle = load_bundle(bundle_path(settings.model.bundle))
    encoder = Encoder(bundle, settings.model.device)
    log = _open_log(settings.duplicates_log)
    try:
        store = open_store(store_path)
    except TwinwatchError:
        log.close()
        raise
    return Resources(settings, store_path, bundle, encoder, store, log)


def reload_resources(current: Resources, config_path: Path) -> Resources | None:
    """Reopen the duplicates log and read the configuration again.

    Returns the resources for a configuration that has changed; None where it has not, or is refused.
    """
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    resources = None
    try:
        current.log.reopen()
        settings = load_settings(config_path)
        require_known_roots(settings, config_path, current.store_path)
        if settings.state_dir != current.settings.state_dir:
            raise ConfigError("state_dir: cannot change while the daemon runs; restart it")
        if settings != current.settings:
            resources = open_resources(settings, current.store_path)
    except (TwinwatchError, OSError) as error:
        _log.error("reload refused, the old configuration stays", why=str(error).replace("\n  ", " "))
    else:
        _log_reload(current.settings, settings)
    if resources is None:  # otherwise READY=1 follows once everything runs under the new configuration
        notify("READY=1")
    return resources


def _log_reload(before: Settings, after: Settings) -> None:
    changed = [key for key in Settings.model_fields if getattr(after, key) != getattr(before, key)]
    if changed:
        _log.info("reloaded, the configuration has changed: starting anew under it", changed=", ".join(changed))
    else:
        _log.info("reloaded, the configuration is as it was; the duplicates log was reopened")


def _open_log(path: Path) -> DuplicatesLog:
    try:
        return DuplicatesLog(path)
    except OSError as error:
        raise ConfigError(f"duplicates_log: cannot write {path}: {error.strerror}; choose a writable place") from None
