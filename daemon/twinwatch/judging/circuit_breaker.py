"""Do so many files go to quarantine that something may be wrong? Pure: the clock is passed in.

A wrong setting, or a share that is rearranged, shows itself first in how much goes at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile

_MINUTE_S, _HOUR_S = 60.0, 3600.0
FEWEST = 100
"""So many must have gone within an hour before their share of the folder counts."""


class CircuitBreaker:
    """Counts what goes from one folder. Once it has said why to stop, it counts anew."""

    def __init__(self, most_per_minute: int = 500, most_percent: int = 50) -> None:
        self._most_per_minute = most_per_minute
        self._most_percent = most_percent
        self._times_s: deque[float] = deque()  # of the moves within the last hour

    def count(self, now_s: float, remaining: Callable[[], int]) -> str:
        """Count one move; return why there should be no more of them, or "".

        `now_s` is monotonic; `remaining` tells how many files are left in the folder, and is asked only if it matters.
        """
        self._times_s.append(now_s)
        while now_s - self._times_s[0] > _HOUR_S:
            self._times_s.popleft()
        moved = len(self._times_s)
        within_minute = sum(1 for _ in takewhile(lambda time_s: now_s - time_s <= _MINUTE_S, reversed(self._times_s)))
        why = ""
        if within_minute > self._most_per_minute:
            why = f"{within_minute} files were moved within a minute (max_moves_per_minute)"
        elif moved >= FEWEST and 100 * moved > self._most_percent * (moved + remaining()):
            share = f"over {self._most_percent}% of the folder"
            why = f"{moved} files, {share}, were moved within an hour (max_moved_percent)"
        if why:
            self._times_s.clear()
        return why
