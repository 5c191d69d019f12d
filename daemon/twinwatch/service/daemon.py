"""The daemon's life: build all parts, start the threads, answer signals, report, drain and stop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from twinwatch.config import load_settings
from twinwatch.errors import CatalogError, StorageError, ThreadDiedError
from twinwatch.judging import Engine, Pipeline, WatchedRoots
from twinwatch.service.log_retry import LogRetry
from twinwatch.service.resources import Resources, open_resources, reload_resources
from twinwatch.service.signal_flags import Signals
from twinwatch.service.startup import require_known_roots
from twinwatch.service.state import StateFolder
from twinwatch.service.status_report import StatusReport
from twinwatch.service.systemd import notify
from twinwatch.store import open_store
from twinwatch.threads import MonitoredThread, raise_if_dead
from twinwatch.watching import ChangeQueue, EventWatcher, Ingest, RootMonitor
from twinwatch.wording import backlog_text, error_text, pluralize
from twinwatch.workers import WorkerPool

TICK_S = 1.0
DRAIN_S = 5.0
_STUCK_S = 30.0

_log = structlog.get_logger("twinwatch")


def run_daemon(config_path: Path, signals: Signals) -> None:
    """Run the daemon until it is asked to stop. Raises TwinwatchError where it cannot start or go on."""
    settings = load_settings(config_path)
    state = StateFolder(settings.state_dir)
    with state.lock():
        require_known_roots(settings, config_path, state.catalog_path)
        _require_sound_catalogue(state.catalog_path)
        resources: Resources | None = open_resources(settings, state.catalog_path)
        while resources is not None and not signals.stop:
            resources = Daemon(resources, state).run(config_path, signals)
    _log.info("stopped")


class Daemon:
    """Everything that runs under one configuration. It closes the resources that it is given."""

    def __init__(self, resources: Resources, state: StateFolder) -> None:
        settings, store_path = resources.settings, resources.store_path
        self._resources = resources
        self._log_retry = LogRetry(resources.store, resources.log)
        self._log_retry.catch_up(after_crash=True)
        changes, work_arrived, roots = ChangeQueue(), threading.Event(), WatchedRoots()
        self._workers = WorkerPool(settings.limits)
        engine = Engine(resources.bundle, resources.encoder, self._workers)
        self._pipeline = Pipeline(store_path, engine, roots, resources.log, work_arrived)
        self._watcher = EventWatcher(changes)
        self._monitor = RootMonitor(settings, store_path, changes, self._watcher, roots, work_arrived)
        self._ingest = Ingest(settings, store_path, changes, self._monitor.online, work_arrived)
        self._status = StatusReport(state, resources, self._workers, self._pipeline, self._monitor)
        self._threads = [MonitoredThread("patrol", self._monitor.run), MonitoredThread("intake", self._ingest.run)]

    def run(self, config_path: Path, signals: Signals) -> Resources | None:
        """Run until asked to stop, or until a reload brings resources for a changed configuration; return those.

        Raises TwinwatchError where a thread has ended, or no decoder can be started.
        """
        try:
            self.start()
            notify("READY=1", f"STATUS=watching {pluralize(len(self._resources.settings.watch), 'folder')}")
            next_resources = self._main_loop(config_path, signals)
            if next_resources is None:
                notify("STOPPING=1")
            return next_resources
        finally:
            self.stop()

    def start(self) -> None:
        """Start the threads, and wait until events come from every root that is online."""
        for thread in self._threads:
            thread.start()
        until_s = time.monotonic() + _STUCK_S
        while not self._monitor.ready.wait(TICK_S / 10) and time.monotonic() < until_s:
            self.raise_if_unhealthy()
        bundle, encoder = self._resources.bundle, self._resources.encoder
        if encoder.fallback:
            _log.info("encoding on the CPU", why=encoder.fallback)
        workers = self._resources.settings.limits.worker_count
        _log.info("ready", bundle=bundle.id, device=encoder.device, workers=workers)

    def _main_loop(self, config_path: Path, signals: Signals) -> Resources | None:
        last_error = ""
        while not signals.stop:
            self.raise_if_unhealthy()
            if signals.take_reload():
                next_resources = reload_resources(self._resources, config_path)
                if next_resources is not None:
                    return next_resources
            last_error = self._try_to_report(last_error)
            signals.wait(TICK_S)
        return None

    def stop(self) -> None:
        """Take nothing more in, let what is under way finish for a few seconds, then end the rest."""
        self._monitor.stop()
        self._ingest.stop()
        self._pipeline.drain(DRAIN_S)
        self._workers.close()
        self._pipeline.stop()
        for thread in self._threads:
            thread.join()
        self._watcher.stop()
        try:
            self._status.write()
        except (OSError, StorageError) as error:
            _log.error("the status cannot be written", why=error_text(error))
        self._resources.close()

    def raise_if_unhealthy(self) -> None:
        """Raises TwinwatchError where a thread has ended, or no decoder can be started."""
        raise_if_dead(self._threads)
        self._pipeline.raise_if_unhealthy()
        if not self._watcher.alive():
            raise ThreadDiedError("the thread that takes in events has ended, so the whole daemon ends")

    def alive(self) -> bool:
        """True while every thread runs and makes progress, and events come."""
        stuck_s = _STUCK_S + 2 * self._resources.settings.limits.decode_seconds
        slowest_s = min(self._monitor.heartbeat.last_s, self._ingest.heartbeat.last_s, self._pipeline.beat_s)
        running = (
            all(thread.is_alive() for thread in self._threads) and self._pipeline.alive() and self._watcher.alive()
        )
        return running and time.monotonic() - slowest_s < stuck_s and self._monitor.alive()

    def report_status(self) -> None:
        """Tell systemd that the daemon is alive if it is, and write the status. Raises OSError, StorageError."""
        if self.alive():  # first, since a full disk is no reason to be ended
            notify("WATCHDOG=1")
        self._log_retry.catch_up_if_due()
        counts = self._status.write()
        backlog = backlog_text(counts["waiting"], self._status.pace.files_per_s)
        notify(f"STATUS={counts.get('kept', 0)} pictures known, {backlog}")

    def _try_to_report(self, last_error: str) -> str:
        """Report the status. Returns why that failed, or an empty string. The same error is logged once."""
        try:
            self.report_status()
        except (OSError, StorageError) as error:
            self._resources.store.rollback()
            if str(error) != last_error:
                _log.error("the status cannot be written", why=error_text(error))
            return str(error)
        return ""


def _require_sound_catalogue(path: Path) -> None:
    """Raises CatalogError where the catalogue is damaged, even where nothing would be read for long."""
    store = open_store(path)
    found = store.check()
    store.close()
    if found != "ok":
        raise CatalogError(f"the catalogue {path} is damaged: {found}; run `twinwatch rebuild`")
