"""Who is judged next: pure, the clock is passed in.

Files are judged in the order in which they were handed out. One that takes long to read holds the others up for
`patience_s` at most; then they go ahead of it. It was there before them all the same, so when its turn comes it is told
who they were: none of them is its original.
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
    """Holds what is ready until its turn. Numbers run from 0 without a gap; a `key` tells one file from another."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waiting: dict[int, _Waiting[Item]] = {}
        self._next = 0  # no lower number is still to come
        self._ahead: dict[int, int] = {}  # number -> key of those that had their turn before a lower number

    def join(self, number: int, key: int, item: Item, now_s: float) -> None:
        self._waiting[number] = _Waiting(key, item, now_s)

    def until_turn_s(self, now_s: float) -> float | None:
        """Return for how long nobody who waits can have a turn; None while nobody waits."""
        if not self._waiting:
            return None
        if self._next in self._waiting:
            return 0.0
        return max(0.0, min(one.since_s for one in self._waiting.values()) + self._patience_s - now_s)

    def soon(self, most: int) -> list[Item]:
        """Return those whose turn is next, as far as they are ready."""
        return [self._waiting[number].item for number in heapq.nsmallest(most, self._waiting)]

    def turn(self, now_s: float) -> tuple[Item, frozenset[int]] | None:
        """Take out who is next; return it with the keys of those that went ahead of it, or None."""
        if self.until_turn_s(now_s) != 0.0:
            return None
        number = min(self._waiting)
        chosen = self._waiting.pop(number)
        younger = frozenset(key for other, key in self._ahead.items() if other > number)
        self._ahead[number] = chosen.key
        while self._next in self._ahead:
            del self._ahead[self._next]
            self._next += 1
        return chosen.item, younger
