"""Puts files that have settled into the catalogue's queue, where judging takes them from."""

from __future__ import annotations

import time
from pathlib import Path

from twinwatch.fs import FileIdentity
from twinwatch.store import QueueState, Root, Store
from twinwatch.watching.changes import ChangeQueue
from twinwatch.watching.scan import ChangedFile

_COMMIT_EVERY = 1000
_FUTURE_NS = 86_400 * 10**9
"""A ctime less far ahead of our clock is put down to the clock of a file server."""


def enqueue(store: Store, root: Root, path: bytes, seen: FileIdentity, state: QueueState) -> bool:
    """Queue a file unless the catalogue knows it as it is. Returns whether it was queued.

    `state` is WAITING for a file that an event named, FOUND for one that a scan found: that one is queued by its
    modification time, and waits until the scan is over. The caller commits.
    """
    known = store.files.at(root.id, path)
    if known is not None and known.identity == seen:
        return False
    # Where the clock was set back, a ctime far ahead comes from before. Whether the file is older than the first watch
    # is then unknown, so it is taken for older: such a file is never moved.
    preexisting = seen.ctime_ns < root.watched_ns or seen.ctime_ns > time.time_ns() + _FUTURE_NS
    arrived_ns = seen.mtime_ns if state is QueueState.FOUND else time.time_ns()
    store.queue.add(root.id, path, seen, preexisting, arrived_ns, state)
    return True


class FoundFiles:
    """Takes in what the scan of one root finds: a file that is still is queued, one that is not goes to `changes`."""

    def __init__(self, store: Store, root: Root, watched: Path, changes: ChangeQueue, settle_s: float) -> None:
        self._store = store
        self._root = root
        self._watched = watched
        self._changes = changes
        self._settle_s = settle_s
        self.queued = 0
        self.settling = 0

    def add(self, found: ChangedFile) -> None:
        """Take in one file. Commits now and then, so that a long scan holds no long transaction."""
        last_change_ns = max(found.seen.mtime_ns, found.seen.ctime_ns)
        if time.time_ns() - last_change_ns < self._settle_s * 1e9:
            self._changes.add(self._watched, found.path)
            self.settling += 1
        elif enqueue(self._store, self._root, found.path, found.seen, QueueState.FOUND):
            self.queued += 1
            if self.queued % _COMMIT_EVERY == 0:
                self._store.commit()
