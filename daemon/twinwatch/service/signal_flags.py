"""The signals that steer the daemon, as flags for its main loop."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload. The handlers only set flags and wake the main loop."""

    def __init__(self) -> None:
        self.stop = False
        self._reload = False
        self._arrived = threading.Event()

    def install(self) -> None:
        """Handle the signals from now on. For the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_stop)
        signal.signal(signal.SIGHUP, self._ask_reload)

    def take_reload(self) -> bool:
        """Return whether a reload was asked for since the last call."""
        if not self._reload:
            return False
        self._reload = False
        return True

    def wait(self, timeout_s: float) -> None:
        """Return at the next signal, or when the time is over."""
        self._arrived.wait(timeout_s)
        self._arrived.clear()

    def _ask_stop(self, *_: Any) -> None:
        self.stop = True
        self._arrived.set()

    def _ask_reload(self, *_: Any) -> None:
        self._reload = True
        self._arrived.set()
