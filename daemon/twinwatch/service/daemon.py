"""The daemon's life: build everything, start the threads, answer signals, tell systemd, drain and leave."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from twinwatch.clock import utc_now
from twinwatch.config import Settings, load_settings
from twinwatch.errors import CatalogError, ConfigError, StorageError, ThreadDiedError, TwinwatchError
from twinwatch.judging import Pipeline, WatchedRoot
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.search import Bundle, Encoder, bundle_path, load_bundle
from twinwatch.service.startup import require_known_roots
from twinwatch.service.state import StateFolder
from twinwatch.service.status import write_status
from twinwatch.service.systemd import notify
from twinwatch.store import Catalog
from twinwatch.threads import MonitoredThread, raise_if_dead
from twinwatch.watching import ChangeQueue, EventWatcher, Ingest, PathFilter, RootMonitor, RootPath, Settler
from twinwatch.wording import backlog_text, error_text, pluralize
from twinwatch.workers import WorkerPool

TICK_S = 1.0
DRAIN_S = 5.0
_STUCK_S = 30.0
_CATCH_UP_S = 5.0

_log = structlog.get_logger("twinwatch")


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload; the handlers only set flags."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self.wake = threading.Event()

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_stop)
        signal.signal(signal.SIGHUP, self._ask_reload)

    def _ask_stop(self, *_: Any) -> None:
        self.stop = True
        self.wake.set()

    def _ask_reload(self, *_: Any) -> None:
        self.reload = True
        self.wake.set()


def run(config_path: Path, signals: Signals) -> None:
    """Run the daemon until it is told to stop. Raises TwinwatchError where it cannot start."""
    settings = load_settings(config_path)
    state = StateFolder(settings.state_dir)
    with state.lock():
        require_known_roots(settings, config_path, state.catalog_path)
        _refuse_damaged(state.catalog_path)
        gear: Resources | None = _equip(settings, state)
        while gear is not None and not signals.stop:
            with _shift(gear, state) as shift:
                notify("READY=1", f"STATUS=watching {pluralize(len(gear.settings.watch), 'folder')}")
                gear = _until_changed(shift, config_path, signals)
                if gear is None:
                    notify("STOPPING=1")
    _log.info("stopped")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a configuration asks for and may not get: made before a shift begins, and before the one before it ends."""

    settings: Settings
    bundle: Bundle
    encoder: Encoder
    catalog: Catalog
    log: DuplicatesLog


class Daemon:
    """Everything that runs under one configuration. It closes the gear that it was given."""

    def __init__(self, gear: Resources, state: StateFolder) -> None:
        settings, bundle = gear.settings, gear.bundle
        self.settings = settings
        self.state = state
        self.encoder = gear.encoder
        self.catalog = gear.catalog
        self.log = gear.log
        self.bundle = bundle
        self.started = utc_now()
        self._log_trouble = ""
        self._counts: dict[str, int] = {}
        self._counted: tuple[int, int] | None = None
        self._busy_since, self._judged_before, self._files_per_s = time.monotonic(), 0, 0.0
        self._catch_up(after_crash=True)
        self.stop = threading.Event()
        hints = ChangeQueue()
        grounds: dict[int, WatchedRoot] = {}
        roots: dict[Path, Any] = {}
        self.workers = WorkerPool(settings.limits)
        self.pipeline = Pipeline(
            state.catalog_path,
            bundle,
            self.encoder,
            self.workers,
            grounds,
            hints.put,
            self.log,
            hints.arrived,
        )
        self.watcher = EventWatcher(hints)
        self.patrol = RootMonitor(
            settings, state.catalog_path, hints, self.watcher, self.pipeline, roots, grounds, self.stop
        )
        names = {watch.path: PathFilter(watch.include, watch.exclude) for watch in settings.watch}
        settler: Settler[RootPath] = Settler(settings.settle_seconds)
        self.intake = Ingest(
            state.catalog_path, hints, settler, roots, names, self.pipeline, self.patrol.ask_scan, self.stop
        )
        self._threads = [
            MonitoredThread("patrol", self.patrol.run),
            MonitoredThread("intake", self.intake.run),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        until_s = time.monotonic() + _STUCK_S
        while not self.patrol.armed.wait(TICK_S / 10) and time.monotonic() < until_s:
            self.raise_if_unhealthy()
        if self.encoder.fallback:
            _log.info("encoding on the CPU", why=self.encoder.fallback)
        _log.info("ready", bundle=self.bundle.id, device=self.encoder.device, workers=self.settings.limits.worker_count)

    def end(self) -> None:
        """Take nothing more in, let what is under way finish for a few seconds, then end the rest."""
        self.stop.set()
        self.patrol.wake()
        until_s = time.monotonic() + DRAIN_S
        while self.pipeline.in_flight() and time.monotonic() < until_s:
            time.sleep(0.05)
        self.workers.close()
        self.pipeline.stop()
        for thread in self._threads:
            thread.join()
        self.watcher.stop()
        try:
            self._leave_status()
        except (OSError, StorageError) as error:
            _log.error("the status cannot be written", why=error_text(error))
        self.catalog.close()
        self.log.close()

    def raise_if_unhealthy(self) -> None:
        """Raises TwinwatchError where a thread has ended, or no decoder can be started."""
        raise_if_dead(self._threads)
        self.pipeline.raise_if_unhealthy()
        if not self.watcher.alive():
            raise ThreadDiedError("the thread that takes in events has ended, so the whole daemon ends")

    def healthy(self) -> bool:
        """True while every thread lives and moves on, and events come round."""
        stuck_s = _STUCK_S + 2 * self.settings.limits.decode_seconds
        beats_s = (self.patrol.beat_s, self.intake.beat_s, self.pipeline.beat_s)
        alive = all(thread.is_alive() for thread in self._threads) and self.pipeline.alive() and self.watcher.alive()
        return alive and time.monotonic() - min(beats_s) < stuck_s and self.patrol.healthy()

    def tell(self) -> None:
        """Tell systemd that all is well if it is, and leave the status for people. Raises OSError, StorageError."""
        if self.healthy():  # first, since a full disk is no reason to be ended
            notify("WATCHDOG=1")
        if time.monotonic() - self._caught_up_s > _CATCH_UP_S:
            self._catch_up(after_crash=False)
        counts = self._leave_status()
        notify(f"STATUS={counts.get('kept', 0)} pictures known, {backlog_text(counts['waiting'], self._files_per_s)}")

    def _catch_up(self, after_crash: bool) -> None:
        """Log what an earlier shift, or a command, could not. What cannot be logged now is logged later."""
        self._caught_up_s = time.monotonic()
        trouble = ""
        try:
            flush_outbox(self.catalog, self.log, after_crash)
        except (OSError, StorageError) as error:
            trouble = str(error)
        if trouble and trouble != self._log_trouble:
            _log.error("the duplicates log cannot be written, trying again", why=trouble)
        self._log_trouble = trouble

    def _leave_status(self) -> dict[str, int]:
        version = self.catalog.version()
        if version != self._counted:  # to count looks at every file
            self._counts, self._counted = self.catalog.counts(), version
        counts = self._counts
        self._take_pace(counts["waiting"])
        write_status(
            self.state.path,
            {
                "time": utc_now(),
                "started": self.started,
                "device": self.encoder.device,
                "device_note": self.encoder.fallback,
                "bundle": self.bundle.id,
                "preset": self.bundle.manifest.preset,
                "in_flight": self.pipeline.in_flight(),
                "files_per_s": self._files_per_s,
                "roots": [
                    {
                        "path": str(beat.watch.path),
                        "action": beat.watch.action,
                        "protect": beat.watch.protect,
                        "mode": "events" if beat.events and not beat.away else "scan",
                        "away": beat.away,
                        "files": beat.files,
                        "notes": beat.troubles,
                    }
                    for beat in self.patrol.beats.values()
                ],
            },
            {f"files_{state}": float(count) for state, count in counts.items()}
            | {"folders_switched_off": float(sum(root.latched is not None for root in self.catalog.roots()))}
            | {"judged_total": float(self.pipeline.judged), "workers_lost_total": float(self.workers.lost)},
        )
        return counts

    def _take_pace(self, waiting: int) -> None:
        """Note how many files a second were judged since the queue was last empty."""
        now_s = time.monotonic()
        if not waiting:
            self._busy_since, self._judged_before = now_s, self.pipeline.judged
        self._files_per_s = (self.pipeline.judged - self._judged_before) / max(TICK_S, now_s - self._busy_since)


@contextmanager
def _shift(gear: Resources, state: StateFolder) -> Iterator[Daemon]:
    shift = Daemon(gear, state)
    try:
        shift.start()
        yield shift
    finally:
        shift.end()


def _until_changed(shift: Daemon, config_path: Path, signals: Signals) -> Resources | None:
    """Return None when told to stop, or the gear for the next shift when a reload changed the configuration."""
    trouble = ""
    while not signals.stop:
        shift.raise_if_unhealthy()
        if signals.reload:
            signals.reload = False
            gear = _reload(shift, config_path)
            if gear is not None:
                return gear
        try:
            shift.tell()
        except (OSError, StorageError) as error:
            shift.catalog.rollback()
            if str(error) != trouble:
                _log.error("the status cannot be written", why=error_text(error))
            trouble = str(error)
        else:
            trouble = ""
        signals.wake.wait(TICK_S)
        signals.wake.clear()
    return None


def _reload(shift: Daemon, config_path: Path) -> Resources | None:
    """Return the gear for a configuration that has changed; None where it has not, or is refused."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    gear = None
    try:
        shift.log.reopen()
        fresh = load_settings(config_path)
        require_known_roots(fresh, config_path, shift.state.catalog_path)
        if fresh.state_dir != shift.settings.state_dir:
            raise ConfigError("state_dir: cannot change while the daemon runs; restart it")
        if fresh != shift.settings:
            gear = _equip(fresh, shift.state)
    except (TwinwatchError, OSError) as error:
        _log.error("reload refused, the old configuration stays", why=str(error).replace("\n  ", " "))
    else:
        _tell_of_reload(shift.settings, fresh)
    if gear is None:  # otherwise it is ready once everything runs under the new configuration
        notify("READY=1")
    return gear


def _equip(settings: Settings, state: StateFolder) -> Resources:
    """Make what a shift works with. Raises TwinwatchError; then nothing is left open."""
    bundle = load_bundle(bundle_path(settings.model.bundle))
    encoder = Encoder(bundle, settings.model.device)
    log = _open_log(settings.duplicates_log)
    try:
        catalog = Catalog(state.catalog_path)
    except TwinwatchError:
        log.close()
        raise
    return Resources(settings, bundle, encoder, catalog, log)


def _refuse_damaged(path: Path) -> None:
    """Raises CatalogError where the catalogue is damaged, also in a place that nothing would read for long."""
    catalog = Catalog(path)
    found = catalog.check()
    catalog.close()
    if found != "ok":
        raise CatalogError(f"the catalogue {path} is damaged: {found}; run `twinwatch rebuild`")


def _tell_of_reload(before: Settings, fresh: Settings) -> None:
    changed = [key for key in Settings.model_fields if getattr(fresh, key) != getattr(before, key)]
    if changed:
        _log.info("reloaded, the configuration has changed: starting anew under it", changed=", ".join(changed))
    else:
        _log.info("reloaded, the configuration is as it was; the duplicates log was reopened")


def _open_log(path: Path) -> DuplicatesLog:
    try:
        return DuplicatesLog(path)
    except OSError as error:
        raise ConfigError(f"duplicates_log: cannot write {path}: {error.strerror}; choose a writable place") from None
