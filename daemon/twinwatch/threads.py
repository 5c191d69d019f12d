"""The daemon's threads. None of them ends unseen: what ended it is kept for the main loop, which then ends the daemon.

A daemon that lives on without one of its threads looks well and does nothing; one that ends is started anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from twinwatch.errors import ThreadDiedError, TwinwatchError

_log = structlog.get_logger("twinwatch")


class MonitoredThread(threading.Thread):
    """A thread that keeps what ended it, if that was not its own decision; a program that ends does not wait for it."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            super().run()
        except BaseException as error:  # noqa: BLE001  kept, for `raise_if_unhealthy` to raise
            self.fault = error


def raise_if_unhealthy(hands: Iterable[MonitoredThread]) -> None:
    """Raises what ended a thread: an error for people as it is, ThreadDiedError for any other, which is logged."""
    for hand in hands:
        if isinstance(hand.fault, TwinwatchError):
            raise hand.fault
        if hand.fault is not None:
            _log.error("internal error", thread=hand.name, exc_info=hand.fault)
            what = f"{type(hand.fault).__name__}: {hand.fault}"
            raise ThreadDiedError(f"the {hand.name} thread has ended, so the whole daemon ends: {what}")
