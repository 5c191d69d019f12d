"""When has a file stopped changing? Pure: the clock and the file's facts are passed in, nothing is read here.

A file has settled once its size, mtime and ctime have stayed the same for `settle_s` since they were first seen, or
when its last change already lies that far back. A time in the future proves nothing, so then it is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from twinwatch.fs import FileIdentity

Key = TypeVar("Key")


@dataclass(slots=True)
class _Wait:
    seen: FileIdentity
    since_s: float
    check_at_s: float


class Settler(Generic[Key]):
    """Holds files until they are still. At most `capacity` are held; what does not fit is for the next scan."""

    def __init__(self, settle_s: float, capacity: int = 10_000) -> None:
        self.settle_s = settle_s
        self._capacity = capacity
        self._waiting: dict[Key, _Wait] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def full(self) -> bool:
        return len(self._waiting) >= self._capacity

    def offer(self, key: Key, seen: FileIdentity, now_s: float, wall_ns: int) -> bool:
        """Take a file in, or note that it was touched again. Returns True if it has settled already.

        `now_s` is a monotonic clock; `wall_ns` the wall clock that mtime and ctime are compared with.
        """
        age_ns = wall_ns - max(seen.mtime_ns, seen.ctime_ns)
        if age_ns >= self.settle_s * 1e9:
            self._waiting.pop(key, None)
            return True
        held = self._waiting.get(key)
        if held is None or held.seen != seen:
            self._waiting[key] = _Wait(seen, now_s, now_s + self.settle_s)
        return False

    def due(self, now_s: float, look: Callable[[Key], FileIdentity | None]) -> Iterable[tuple[Key, FileIdentity]]:
        """Yield the files that are still; forget what `look` cannot find; go on waiting for what changed."""
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
                self._waiting[key] = _Wait(current, now_s, now_s + self.settle_s)

    def next_check_s(self) -> float | None:
        """The monotonic time at which `due` is worth calling next, or None while nothing waits."""
        return min((wait.check_at_s for wait in self._waiting.values()), default=None)
