"""Clusters a grown library anew beside the committing thread."""

from __future__ import annotations

import queue
import threading

from twinwatch.search import ExactIndex, recluster
from twinwatch.store import Store
from twinwatch.workers import malloc


class Reclustering:
    """For the committing thread: `step` starts a clustering when it is due, and takes its result in."""

    def __init__(self) -> None:
        self._results: queue.SimpleQueue[ExactIndex] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def is_running(self) -> bool:
        return self._thread is not None

    def step(self, store: Store) -> None:
        if not self._results.empty():
            store.vectors.replace(self._results.get())
            self._thread = None
            malloc.trim()
        elif self._thread is None and store.vectors.needs_recluster():
            ids, vectors = store.vectors.snapshot()
            self._thread = threading.Thread(target=lambda: self._results.put(recluster(ids, vectors)), name="recluster")
            self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()
