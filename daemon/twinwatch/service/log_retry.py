"""Writes into the duplicates log what could not be written when it happened."""

from __future__ import annotations

import time

import structlog

from twinwatch.errors import StorageError
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.store import Store

_PAUSE_S = 5.0

_log = structlog.get_logger("twinwatch")


class LogRetry:
    """Catches up with verdicts that have no line yet, and tries again every few seconds. For one thread."""

    def __init__(self, store: Store, log: DuplicatesLog) -> None:
        self._store = store
        self._log = log
        self._last_s = float("-inf")
        self._last_error = ""

    def catch_up(self, after_crash: bool) -> None:
        """Log what an earlier daemon, or a command, could not. What cannot be logged now is logged later.

        After a crash each line is looked for first: it may have been written and not noted.
        """
        self._last_s = time.monotonic()
        why = ""
        try:
            flush_outbox(self._store, self._log, after_crash)
        except (OSError, StorageError) as error:
            why = str(error)
        if why and why != self._last_error:
            _log.error("the duplicates log cannot be written, trying again", why=why)
        self._last_error = why

    def catch_up_if_due(self) -> None:
        if time.monotonic() - self._last_s > _PAUSE_S:
            self.catch_up(after_crash=False)
