"""A resequencer: gives out items in order of their numbers, though they arrive in any order.

Files are judged in the order in which they were handed out. One that takes long to read holds the others up for
`max_wait_s` at most; then they overtake it. It was there before them all the same, so it is given out with the keys of
those that overtook it: none of them is its original. Pure: the clock is passed in.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    key: int
    item: Item
    since_s: float


class Resequencer(Generic[Item]):
    """Holds items until it is their turn. Numbers run from 0 without a gap; a `key` tells one file from another."""

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._waiting: dict[int, _Waiting[Item]] = {}
        self._next = 0  # no lower number is still to come
        self._overtook: dict[int, int] = {}  # number -> key of those that were given out before a lower number

    def push(self, number: int, key: int, item: Item, now_s: float) -> None:
        self._waiting[number] = _Waiting(key, item, now_s)

    def until_pop_s(self, now_s: float) -> float | None:
        """Return for how many seconds `pop` has nothing to give; None while nothing waits."""
        if not self._waiting:
            return None
        if self._next in self._waiting:
            return 0.0
        return max(0.0, min(one.since_s for one in self._waiting.values()) + self._max_wait_s - now_s)

    def peek(self, limit: int) -> list[Item]:
        """Return the items that come next, as far as they have arrived."""
        return [self._waiting[number].item for number in heapq.nsmallest(limit, self._waiting)]

    def pop(self, now_s: float) -> tuple[Item, frozenset[int]] | None:
        """Take out the next item; return it with the keys of those that overtook it, or None."""
        if self.until_pop_s(now_s) != 0.0:
            return None
        number = min(self._waiting)
        chosen = self._waiting.pop(number)
        overtaken_by = frozenset(key for other, key in self._overtook.items() if other > number)
        self._overtook[number] = chosen.key
        while self._next in self._overtook:
            del self._overtook[self._next]
            self._next += 1
        return chosen.item, overtaken_by
