"""Watched roots as judging sees them: where they are, what may be done there, and what is there just now."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from twinwatch.config import Watch
from twinwatch.fs import TRANSIENT_ERRNOS, FileIdentity, folder_id, join, stat_beneath
from twinwatch.judging.circuit_breaker import CircuitBreaker
from twinwatch.quarantine import Quarantine
from twinwatch.store import Root
from twinwatch.wording import show_path
from twinwatch.workers import FileRef, RootOffline


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """One watched root. `quarantine` is None where nothing may be moved, and `flag_only_reason` says why."""

    path: Path
    folder: tuple[int, int]
    protect: bool
    quarantine: Quarantine | None = None
    flag_only_reason: str = ""
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)

    def ref(self, path: bytes) -> FileRef:
        return FileRef(self.path, self.folder, path)

    def stat(self, path: bytes) -> FileIdentity | None:
        """Return what is at a path beneath the root, None where nothing can be seen there.

        Raises OSError where that is unknown now, for want of descriptors or memory.
        """
        try:
            return stat_beneath(self.path, path)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            return None

    def unchanged(self, path: bytes, identity: FileIdentity) -> FileIdentity | None:
        """Return what is at a path if its bytes are still those that had this identity. Raises what `stat` raises."""
        there = self.stat(path)
        return there if there is not None and there.same_bytes_as(identity) else None

    def is_online(self) -> bool:
        """True while the root is the folder that it was."""
        try:
            return folder_id(self.path) == self.folder
        except OSError:
            return False

    def show(self, path: bytes) -> str:
        """Return a path beneath the root as a person reads it."""
        return show_path(join(self.path, path))


class WatchedRoots:
    """The roots that are online, by id. Watching attaches and detaches them; the threads of judging read."""

    def __init__(self) -> None:
        self._roots: dict[int, WatchedRoot] = {}
        self._lock = threading.Lock()

    def attach(self, watch: Watch, root: Root, quarantine: Quarantine | None, flag_only_reason: str) -> None:
        """Let a root's files be judged. `quarantine` is None where copies are only flagged."""
        breaker = CircuitBreaker(watch.max_moves_per_minute, watch.max_moved_percent)
        self.put(root.id, WatchedRoot(watch.path, root.folder, watch.protect, quarantine, flag_only_reason, breaker))

    def put(self, root_id: int, root: WatchedRoot) -> None:
        with self._lock:
            self._roots[root_id] = root

    def detach(self, root_id: int) -> WatchedRoot | None:
        """Let no file of a root be judged any more; return the root if it was attached."""
        with self._lock:
            return self._roots.pop(root_id, None)

    def ids(self) -> list[int]:
        with self._lock:
            return list(self._roots)

    def get(self, root_id: int) -> WatchedRoot | None:
        with self._lock:
            return self._roots.get(root_id)

    def require(self, root_id: int) -> WatchedRoot:
        """Raises RootOffline for a root that was detached while its file was on its way."""
        root = self.get(root_id)
        if root is None:
            raise RootOffline("its folder went away meanwhile")
        return root

    def show(self, root_id: int, path: bytes) -> str:
        """Return a path as a person reads it, absolute where its root is attached."""
        root = self.get(root_id)
        return show_path(path) if root is None else root.show(path)
