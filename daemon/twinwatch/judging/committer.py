"""The committing thread's steps: judge a file, forget what is gone, look for what is missing; commit and report each.

Whatever goes wrong with one file is that file's outcome, or it is tried again; the thread goes on.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import structlog

from twinwatch.errors import CatalogError, StorageError
from twinwatch.judging import in_flight as limits
from twinwatch.judging.facts import Arrival
from twinwatch.judging.feeder import Numbered
from twinwatch.judging.in_flight import MAX_KILLS, InFlight
from twinwatch.judging.judge import Judge
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.wording import show_path
from twinwatch.workers import RootOffline, WorkerKilled

MISSING_S = 5.0
"""Seconds between two looks for missing originals."""
_GONE_AT_ONCE = 256
_GONE_POLL_S = 0.2

_log = structlog.get_logger("twinwatch")


class Committer:
    """Drives one judge. `log` is None where verdicts are not logged, as in a one-off scan."""

    def __init__(self, judge: Judge, in_flight: InFlight, log: DuplicatesLog | None) -> None:
        self._judge = judge
        self._store = judge.store
        self._in_flight = in_flight
        self._log = log
        self._gone_due_s = self._missing_due_s = 0.0

    def judge(self, item: Numbered, overtaken_by: frozenset[int], next_ones: list[Arrival]) -> None:
        """Judge a file, commit and report; note whether it is settled or has to be tried again."""
        settled = False
        try:
            self._judge.prefetch(item.arrival, next_ones)
            settled = self._try(item.arrival, overtaken_by)
            self._commit_and_report()
        except StorageError as error:
            settled = False
            self._store.rollback()
            _log.error("the catalogue cannot be written, trying again", why=str(error))
        self._in_flight.finish(item.number, settled)

    def forget_gone(self, stopping: threading.Event) -> None:
        """Forget the files that a scan no longer found."""
        while time.monotonic() >= self._gone_due_s and not stopping.is_set():
            gone = self._store.queue.gone(_GONE_AT_ONCE)
            if not gone:
                self._gone_due_s = time.monotonic() + _GONE_POLL_S
                return
            try:
                for file in gone:
                    self._judge.heartbeat.beat()
                    self._judge.applier.forget(file)
                    self._commit_and_report()
            except StorageError as error:
                self._store.rollback()
                self._gone_due_s = time.monotonic() + limits.RETRY_S
                _log.error("the catalogue cannot be written, trying again", why=str(error))

    def look_for_missing(self) -> None:
        """Let files be judged again whose missing originals are in place again."""
        if time.monotonic() < self._missing_due_s:
            return
        self._missing_due_s = time.monotonic() + MISSING_S
        try:
            self._judge.applier.look_for_missing()
            self._store.commit()
        except (OSError, StorageError) as error:
            self._store.rollback()
            _log.error("what was away is looked for again later", why=str(error))

    def _try(self, arrival: Arrival, overtaken_by: frozenset[int]) -> bool:
        """Return False where the file is to be tried again later. Raises StorageError, CatalogError."""
        path = show_path(arrival.file.path)
        try:
            return self._judge.judge(arrival, overtaken_by)
        except (StorageError, CatalogError):
            raise
        except RootOffline:
            self._store.rollback()
            return False
        except (OSError, CancelledError) as error:
            self._store.rollback()
            if isinstance(error, WorkerKilled) and self._in_flight.tries(arrival.file.id) + 1 >= MAX_KILLS:
                _log.error("given up until the next scan", path=path, why=str(error))
                self._abandon(arrival, f"{error}, {MAX_KILLS} times; tried again at the next scan")
                return True
            if not isinstance(error, InterruptedError | CancelledError):  # the daemon is being stopped
                _log.warning("trying again later", path=path, why=str(error))
            return False
        except Exception:  # noqa: BLE001  the daemon survives every file, also one that meets a mistake of ours
            self._store.rollback()
            _log.exception("internal error", path=path)
            self._abandon(arrival, "internal error, see the log; tried again at the next scan")
            return True

    def _abandon(self, arrival: Arrival, reason: str) -> None:
        self._judge.applier.set_aside(arrival.file, reason)
        self._in_flight.abandon(arrival.file.id)

    def _commit_and_report(self) -> None:
        """Commit, then log. What cannot be logged is logged later. Raises StorageError."""
        self._store.commit()
        if self._log is not None:
            try:
                flush_outbox(self._store, self._log)
            except (OSError, StorageError) as error:
                _log.error("the duplicates log cannot be written, trying again", why=str(error))
