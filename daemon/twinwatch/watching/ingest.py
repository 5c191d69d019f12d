"""Ingest: takes the files that events named, waits until they are still, and puts them into the store's queue.

It takes from the store's queue, too: files that judging saw change or move have to settle again.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from twinwatch.config import Settings
from twinwatch.errors import StorageError
from twinwatch.fs import PRIVATE_FOLDER, FileIdentity, join, stat_regular
from twinwatch.store import QueueState, Store, open_store
from twinwatch.threads import Heartbeat
from twinwatch.watching.changes import ChangeQueue, RootPath
from twinwatch.watching.enqueue import enqueue
from twinwatch.watching.filters import PathFilter
from twinwatch.watching.online_roots import OnlineRoots
from twinwatch.watching.settle import Settler

_TICK_S = 0.2
_RETRY_S = 5.0

_log = structlog.get_logger("twinwatch")


class Ingest:
    """The thread that empties the ChangeQueue. `run` returns after `stop`. `work_arrived` wakes judging."""

    def __init__(
        self,
        settings: Settings,
        store_path: Path,
        changes: ChangeQueue,
        online: OnlineRoots,
        work_arrived: threading.Event,
    ) -> None:
        self._store_path = store_path
        self._changes = changes
        self._online = online
        self._work_arrived = work_arrived
        self._filters = {watch.path: PathFilter(watch.include, watch.exclude) for watch in settings.watch}
        self._settler = Settler[RootPath](settings.settle_seconds)
        self._stopping = threading.Event()
        self.heartbeat = Heartbeat()

    def stop(self) -> None:
        """Let `run` return. Files that still wait are found by the scan of the next start."""
        self._stopping.set()

    def run(self) -> None:
        store = open_store(self._store_path)
        while not self._stopping.is_set():
            self.heartbeat.beat()
            try:
                self.step(store)
            except (OSError, StorageError) as error:
                store.rollback()
                _log.error("the queue cannot be written, scanning again later", why=str(error))
                self._changes.mark_lossy(self._online.paths())
                self._stopping.wait(_RETRY_S)
            self._changes.arrived.wait(self._wait_s())
        store.close()

    def step(self, store: Store) -> None:
        """Take in what was named since the last step, and queue what has settled. Raises OSError, StorageError."""
        paths, lossy = self._changes.drain()
        queued = 0
        for root_path in [*paths, *self._take_to_settle(store)]:
            queued += self._offer(store, root_path)
        for root_path, seen in self._settler.due(time.monotonic(), _stat):
            queued += self._queue(store, root_path, seen)
        store.commit()
        if queued:
            self._work_arrived.set()
        if lossy:
            self._changes.scans.add(lossy)

    def _wait_s(self) -> float:
        """Return for how long nothing has to be done unless a change arrives."""
        due_s = self._settler.next_check_s()
        return _TICK_S if due_s is None else min(_TICK_S, max(0.0, due_s - time.monotonic()))

    def _take_to_settle(self, store: Store) -> list[RootPath]:
        watched = self._online.paths_by_id()
        return [(watched[root_id], path) for root_id, path in store.queue.take_to_settle(watched)]

    def _offer(self, store: Store, root_path: RootPath) -> bool:
        """Let a file settle. Returns whether it was queued at once."""
        watched, path = root_path
        names = self._filters.get(watched)
        if names is None or PRIVATE_FOLDER in path.split(b"/") or not names.wants(path):
            return False
        seen = _stat(root_path)
        if seen is None:
            return False
        if self._settler.offer(root_path, seen, time.monotonic(), time.time_ns()):
            return self._queue(store, root_path, seen)
        if self._settler.full():
            self._changes.mark_lossy([watched])
        return False

    def _queue(self, store: Store, root_path: RootPath, seen: FileIdentity) -> bool:
        watched, path = root_path
        root = self._online.get(watched)
        return root is not None and enqueue(store, root, path, seen, QueueState.WAITING)


def _stat(root_path: RootPath) -> FileIdentity | None:
    """Return the stat of a regular file, or None where none can be seen."""
    try:
        return stat_regular(join(*root_path))
    except OSError:
        return None
