"""The daemon's life: build everything, start the threads, answer signals, tell systemd, drain and leave."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from twinwatch.bundle import load_bundle, locate
from twinwatch.catalog import Catalog
from twinwatch.config import Settings, load_settings
from twinwatch.duplog import DuplicatesLog, now, write_unlogged
from twinwatch.encoder import Encoder
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.intake import Intake, Spot
from twinwatch.judgement import Ground
from twinwatch.notify import notify
from twinwatch.patrol import Patrol
from twinwatch.pipeline import Pipeline
from twinwatch.scanner import Names
from twinwatch.settle import Settler
from twinwatch.state import StateFolder
from twinwatch.watcher import Hints, Watcher
from twinwatch.workers import Workers

TICK_S = 1.0
DRAIN_S = 5.0
_STUCK_S = 30.0

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
    with state.held():
        while not signals.stop:
            with _shift(settings, state) as shift:
                notify("READY=1", f"STATUS=watching {len(settings.watch)} folders")
                settings = _until_changed(shift, config_path, settings, signals)
                if signals.stop:
                    notify("STOPPING=1")
    _log.info("stopped")


class Shift:
    """Everything that runs under one configuration."""

    def __init__(self, settings: Settings, state: StateFolder) -> None:
        bundle = load_bundle(locate(settings.model.bundle))
        self.settings = settings
        self.state = state
        self.encoder = Encoder(bundle, settings.model.device)
        self.catalog = Catalog(state.catalog_path)
        self.log = _open_log(settings.duplicates_log)
        write_unlogged(self.catalog, self.log, after_crash=True)
        self.bundle = bundle
        self.started = now()
        self.stop = threading.Event()
        hints = Hints()
        grounds: dict[int, Ground] = {}
        roots: dict[Path, Any] = {}
        self.workers = Workers(settings.limits)
        self.pipeline = Pipeline(
            state.catalog_path,
            bundle,
            self.encoder,
            self.workers,
            settings.limits,
            grounds,
            hints.put,
            self.log,
            hints.arrived,
        )
        self.watcher = Watcher(hints)
        self.patrol = Patrol(
            settings, state.catalog_path, hints, self.watcher, self.pipeline, roots, grounds, self.stop
        )
        names = {watch.path: Names(watch.include, watch.exclude) for watch in settings.watch}
        settler: Settler[Spot] = Settler(settings.settle_seconds)
        self.intake = Intake(
            state.catalog_path, hints, settler, roots, names, self.pipeline, self.patrol.ask_scan, self.stop
        )
        self._threads = [
            threading.Thread(target=self.patrol.run, name="patrol"),
            threading.Thread(target=self.intake.run, name="intake"),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self.patrol.armed.wait(_STUCK_S)
        if self.encoder.fallback:
            _log.warning("encoding on the CPU", why=self.encoder.fallback)
        _log.info("ready", bundle=self.bundle.id, device=self.encoder.device, workers=self.settings.limits.worker_count)

    def end(self) -> None:
        """Take nothing more in, let what is under way finish for a few seconds, then end the rest."""
        self.stop.set()
        self.patrol.wake()
        until_s = time.monotonic() + DRAIN_S
        while not self.pipeline.idle() and time.monotonic() < until_s:
            time.sleep(0.05)
        self.workers.close()
        self.pipeline.stop()
        for thread in self._threads:
            thread.join()
        self.watcher.stop()
        self._leave_status()
        self.catalog.close()
        self.log.close()

    def healthy(self) -> bool:
        """True while every thread lives and moves on, and events come round."""
        stuck_s = _STUCK_S + 2 * self.settings.limits.decode_seconds
        beats_s = (self.patrol.beat_s, self.intake.beat_s, self.pipeline.beat_s)
        alive = all(thread.is_alive() for thread in self._threads) and self.pipeline.alive() and self.watcher.alive()
        return alive and time.monotonic() - min(beats_s) < stuck_s and self.patrol.healthy()

    def tell(self) -> None:
        """Leave the status for people, and tell systemd that all is well if it is."""
        counts = self._leave_status()
        notify(f"STATUS={counts.get('kept', 0)} pictures known, {counts['waiting']} waiting")
        if self.healthy():
            notify("WATCHDOG=1")

    def _leave_status(self) -> dict[str, int]:
        counts = self.catalog.counts()
        self.state.write_status(
            {
                "time": now(),
                "started": self.started,
                "device": self.encoder.device,
                "device_note": self.encoder.fallback,
                "bundle": self.bundle.id,
                "preset": self.bundle.manifest.preset,
                "in_flight": self.pipeline.in_flight(),
                "roots": [
                    {
                        "path": str(beat.watch.path),
                        "action": beat.watch.action,
                        "mode": "events" if beat.events and not beat.away else "scan",
                        "away": beat.away,
                        "files": beat.files,
                        "notes": beat.notes,
                    }
                    for beat in self.patrol.beats.values()
                ],
            },
            {f"files_{state}": float(count) for state, count in counts.items()}
            | {"judged_total": float(self.pipeline.judged), "workers_lost_total": float(self.workers.lost)},
        )
        return counts


@contextmanager
def _shift(settings: Settings, state: StateFolder) -> Iterator[Shift]:
    shift = Shift(settings, state)
    try:
        shift.start()
        yield shift
    finally:
        shift.end()


def _until_changed(shift: Shift, config_path: Path, settings: Settings, signals: Signals) -> Settings:
    """Return when told to stop, or with the new settings when a reload changed them."""
    while not signals.stop:
        if signals.reload:
            signals.reload = False
            fresh = _reload(shift, config_path, settings)
            if fresh != settings:
                return fresh
        try:
            shift.tell()
        except OSError as error:
            _log.error("the status cannot be written", why=str(error))
        signals.wake.wait(TICK_S)
        signals.wake.clear()
    return settings


def _reload(shift: Shift, config_path: Path, settings: Settings) -> Settings:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        shift.log.reopen()
        fresh = load_settings(config_path)
        load_bundle(locate(fresh.model.bundle))
        if fresh.state_dir != settings.state_dir:
            raise ConfigError("state_dir: cannot change while the daemon runs; restart it")
    except (TwinwatchError, OSError) as error:
        _log.error("reload refused, the old configuration stays", why=str(error))
        fresh = settings
    else:
        _log.info("reloaded", changed=fresh != settings)
    if fresh == settings:  # otherwise it is ready once everything runs under the new ones
        notify("READY=1")
    return fresh


def _open_log(path: Path) -> DuplicatesLog:
    try:
        return DuplicatesLog(path)
    except OSError as error:
        raise ConfigError(f"duplicates_log: cannot write {path}: {error.strerror}; choose a writable place") from None
