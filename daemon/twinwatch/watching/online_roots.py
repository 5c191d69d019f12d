"""The watched roots that are online, shared by the threads of watching."""

from __future__ import annotations

import threading
from pathlib import Path

from twinwatch.store import Root


class OnlineRoots:
    """Root by watched path. RootMonitor writes it; any thread may read it."""

    def __init__(self) -> None:
        self._roots: dict[Path, Root] = {}
        self._lock = threading.Lock()

    def put(self, watched: Path, root: Root) -> None:
        with self._lock:
            self._roots[watched] = root

    def remove(self, watched: Path) -> None:
        """Remove the root at a path, if there is one."""
        with self._lock:
            self._roots.pop(watched, None)

    def get(self, watched: Path) -> Root | None:
        with self._lock:
            return self._roots.get(watched)

    def paths_by_id(self) -> dict[int, Path]:
        """Return the watched path of each root, by the root's id."""
        with self._lock:
            return {root.id: watched for watched, root in self._roots.items()}

    def paths(self) -> list[Path]:
        with self._lock:
            return list(self._roots)
