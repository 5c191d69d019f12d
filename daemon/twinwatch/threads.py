"""The daemon's threads. An exception that ends one is stored, and the main loop raises it and so ends the daemon.

A daemon that lost a thread would look alive and do nothing. A daemon that ends is restarted by systemd.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog

from twinwatch.errors import ThreadDiedError, TwinwatchError

_log = structlog.get_logger("twinwatch")


class MonitoredThread(threading.Thread):
    """A daemon thread that stores in `error` the exception that ended it. The process does not wait for it at exit."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001  stored for `raise_if_dead`
            self.error = error


def raise_if_dead(threads: Iterable[MonitoredThread]) -> None:
    """Raise the error of the first thread that an exception has ended.

    A TwinwatchError is raised as it is. Any other exception is a bug: it is logged, and ThreadDiedError is raised.
    """
    for thread in threads:
        if isinstance(thread.error, TwinwatchError):
            raise thread.error
        if thread.error is not None:
            _log.error("internal error", thread=thread.name, exc_info=thread.error)
            what = f"{type(thread.error).__name__}: {thread.error}"
            raise ThreadDiedError(f"the {thread.name} thread has ended, so the whole daemon ends: {what}")


class Heartbeat:
    """When a thread last gave a sign of life. Its thread writes it, others read it: one float, so no lock is needed."""

    def __init__(self) -> None:
        self.last_s = time.monotonic()

    def beat(self) -> None:
        self.last_s = time.monotonic()
