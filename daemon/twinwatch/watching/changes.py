"""What has to be looked at: single paths that events named, and whole roots that have to be scanned.

The queue lives in memory and may lose anything but the fact that it lost something: the next scan finds the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

RootPath = tuple[Path, bytes]
"""A watched path, and the path of a file relative to it."""


class ScanRequests:
    """The watched paths of the roots that have to be scanned soon. Any thread may call every method."""

    def __init__(self) -> None:
        self._requested: set[Path] = set()
        self._lock = threading.Lock()
        self._wanted = threading.Event()

    def add(self, roots: Iterable[Path]) -> None:
        with self._lock:
            self._requested.update(roots)
        self._wanted.set()

    def drain(self) -> set[Path]:
        """Return and forget all requests."""
        with self._lock:
            requested, self._requested = self._requested, set()
        return requested

    def wait(self, timeout_s: float) -> None:
        """Return at the next request or `wake`, or when the time is over."""
        self._wanted.wait(timeout_s)
        self._wanted.clear()

    def wake(self) -> None:
        """End a `wait` without a request."""
        self._wanted.set()


class ChangeQueue:
    """The files that events named, each once, in order, and the roots of which events were lost.

    Any thread may call every method. `arrived` is set as long as there is something to drain; `scans` holds the roots
    that the draining thread asks to be scanned.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._paths: dict[RootPath, None] = {}
        self._lossy: set[Path] = set()
        self._lock = threading.Lock()
        self.arrived = threading.Event()
        self.scans = ScanRequests()

    def add(self, root: Path, path: bytes) -> None:
        """Name a changed file. Where the queue is full the root is marked as lossy instead."""
        with self._lock:
            if len(self._paths) < self._capacity:
                self._paths[root, path] = None
            else:
                self._lossy.add(root)
        self.arrived.set()

    def mark_lossy(self, roots: Iterable[Path]) -> None:
        """Note that events of these roots were lost."""
        with self._lock:
            self._lossy.update(roots)
        self.arrived.set()

    def drain(self) -> tuple[list[RootPath], set[Path]]:
        """Return and forget the named files and the lossy roots."""
        with self._lock:
            self.arrived.clear()
            paths, lossy = list(self._paths), self._lossy
            self._paths, self._lossy = {}, set()
        return paths, lossy
