"""A circuit breaker for moves: it opens when so many files go to quarantine that something may be wrong.

A wrong setting, or a share that is rearranged, shows itself first in how many files are moved at once. It is pure: the
clock is passed in. A rate limiter of a library would delay or drop moves; this one ends them, by share of the folder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile

_MINUTE_S, _HOUR_S = 60.0, 3600.0
MIN_MOVES = 100
"""The share of the folder counts only once so many files were moved within an hour."""


class CircuitBreaker:
    """Counts the moves out of one folder. Once it has opened, it counts from zero again."""

    def __init__(self, max_per_minute: int = 500, max_percent: int = 50) -> None:
        self._max_per_minute = max_per_minute
        self._max_percent = max_percent
        self._times_s: deque[float] = deque()  # of the moves within the last hour

    def record_move(self, now_s: float, remaining: Callable[[], int]) -> str:
        """Count one move; return why there should be no more of them, or an empty string.

        `now_s` is monotonic. `remaining` counts the files left in the folder, and is called only where that matters.
        """
        self._times_s.append(now_s)
        while now_s - self._times_s[0] > _HOUR_S:
            self._times_s.popleft()
        moved = len(self._times_s)
        within_minute = sum(1 for _ in takewhile(lambda time_s: now_s - time_s <= _MINUTE_S, reversed(self._times_s)))
        reason = ""
        if within_minute > self._max_per_minute:
            reason = f"{within_minute} files were moved within a minute (max_moves_per_minute)"
        elif moved >= MIN_MOVES and 100 * moved > self._max_percent * (moved + remaining()):
            share = f"over {self._max_percent}% of the folder"
            reason = f"{moved} files, {share}, were moved within an hour (max_moved_percent)"
        if reason:
            self._times_s.clear()
        return reason
