"""Decides when a file has stopped changing. Pure: clocks and stats are arguments, nothing is read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from twinwatch.fs import FileIdentity

Key = TypeVar("Key")


@dataclass(slots=True)
class _Wait:
    seen: FileIdentity
    check_at_s: float


class Settler(Generic[Key]):
    """Tracks the stability of files, each under a key, such as its path.

    The rules:

    1. A file whose last change (mtime or ctime, the later one) is `settle_s` old when it is offered has settled.
    2. Any other file waits. It has settled when `settle_s` have passed and its stat is still the one first seen.
    3. A change starts the wait anew, whether it is offered or found when the wait is over.
    4. An offer without a change does not: many events for one write do not delay the file.
    5. A time in the future proves nothing, so rule 2 applies: the file is watched.
    6. A file that cannot be seen any more is dropped.

    At most `capacity` files should wait. Whoever offers files looks at `full` and leaves the rest to the next scan.
    """

    def __init__(self, settle_s: float, capacity: int = 10_000) -> None:
        self.settle_s = settle_s
        self._capacity = capacity
        self._waiting: dict[Key, _Wait] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def full(self) -> bool:
        return len(self._waiting) >= self._capacity

    def offer(self, key: Key, seen: FileIdentity, now_s: float, wall_ns: int) -> bool:
        """Take in a new file, or one that may have changed. Returns True if it has settled already (rule 1).

        `now_s` is a monotonic clock; `wall_ns` the wall clock that mtime and ctime are compared with.
        """
        age_ns = wall_ns - max(seen.mtime_ns, seen.ctime_ns)
        if age_ns >= self.settle_s * 1e9:
            self._waiting.pop(key, None)
            return True
        wait = self._waiting.get(key)
        if wait is None or wait.seen != seen:
            self._waiting[key] = _Wait(seen, now_s + self.settle_s)
        return False

    def due(self, now_s: float, look: Callable[[Key], FileIdentity | None]) -> Iterable[tuple[Key, FileIdentity]]:
        """Yield the files that have settled by now. `look` returns a file's present stat, None if it is gone."""
        for key, wait in list(self._waiting.items()):
            if wait.check_at_s > now_s:
                continue
            current = look(key)
            if current is None:
                del self._waiting[key]
            elif current == wait.seen:
                del self._waiting[key]
                yield key, current
            else:
                self._waiting[key] = _Wait(current, now_s + self.settle_s)

    def next_check_s(self) -> float | None:
        """Return the monotonic time at which `due` is worth calling next, None while no file waits."""
        return min((wait.check_at_s for wait in self._waiting.values()), default=None)
