"""The intake thread: candidate paths, from events, wait until they are still and then join the catalogue's queue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from twinwatch.errors import StorageError
from twinwatch.fs import PRIVATE_FOLDER, FileIdentity, stat_regular
from twinwatch.judging import Pipeline
from twinwatch.store import Catalog, Root
from twinwatch.watching.scan import PathFilter
from twinwatch.watching.settle import Settler

if TYPE_CHECKING:
    from twinwatch.watching.events import ChangeQueue

_TICK_S = 0.2
_FAR_NS = 86_400 * 10**9  # of a file server's clock, less is a difference to ours

_log = structlog.get_logger("twinwatch")

RootPath = tuple[Path, bytes]
"""A watched path and a path relative to it."""


def enqueue(catalog: Catalog, root: Root, path: bytes, seen: FileIdentity, queue: str) -> bool:
    """Queue a file unless it is known as it is; return whether it was. A moved file keeps its place in the order."""
    known = catalog.file_at(root.id, path)
    if known is not None and known.identity == seen:
        return False
    # A change in the far future came before the clock was set back: who knows that the file came after the first watch?
    standing = seen.ctime_ns < root.watched_ns or seen.ctime_ns > time.time_ns() + _FAR_NS
    arrived_ns = seen.mtime_ns if queue == "found" else time.time_ns()
    catalog.enqueue(root.id, path, seen, standing, arrived_ns, queue)
    return True


class Ingest:
    """Runs in a thread of its own until `stop` is set. `roots` and `names` are by watched path."""

    def __init__(
        self,
        catalog_path: Path,
        hints: ChangeQueue,
        settler: Settler[RootPath],
        roots: Mapping[Path, Root],
        names: Mapping[Path, PathFilter],
        pipeline: Pipeline,
        ask_scan: Callable[[set[Path]], None],
        stop: threading.Event,
    ) -> None:
        self._catalog_path = catalog_path
        self._hints = hints
        self._settler = settler
        self._roots = roots
        self._names = names
        self._pipeline = pipeline
        self._ask_scan = ask_scan
        self._stop = stop
        self.beat_s = time.monotonic()

    def run(self) -> None:
        catalog = Catalog(self._catalog_path)
        while not self._stop.is_set():
            self.beat_s = time.monotonic()
            try:
                self.turn(catalog)
            except InterruptedError:
                break  # the decoders were closed meanwhile
            except (OSError, StorageError) as error:
                catalog.rollback()
                _log.error("the queue cannot be written, scanning again later", why=str(error))
                self._hints.lose(self._roots)
                self._stop.wait(5)
            due_s = self._settler.next_check_s()
            until_due_s = _TICK_S if due_s is None else max(0.0, due_s - time.monotonic())
            self._hints.arrived.wait(min(_TICK_S, until_due_s))
        catalog.close()

    def turn(self, catalog: Catalog) -> None:
        """Take in what events named, queue what is still, and keep the pipeline fed."""
        spots, lossy = self._hints.take()
        for watched, path in spots:
            self._offer(catalog, watched, path)
        for (watched, path), seen in self._settler.due(time.monotonic(), _look_at):
            self._queue(catalog, watched, path, seen)
        catalog.commit()
        if lossy:
            self._ask_scan(lossy)
        self._pipeline.feed(catalog)

    def _offer(self, catalog: Catalog, watched: Path, path: bytes) -> None:
        names = self._names.get(watched)
        if names is None or PRIVATE_FOLDER in path.split(b"/") or not names.wants(path):
            return
        seen = _look_at((watched, path))
        if seen is None:
            return
        if self._settler.offer((watched, path), seen, time.monotonic(), time.time_ns()):
            self._queue(catalog, watched, path, seen)
        elif self._settler.full():
            self._hints.lose([watched])

    def _queue(self, catalog: Catalog, watched: Path, path: bytes, seen: FileIdentity) -> None:
        root = self._roots.get(watched)
        if root is not None:
            enqueue(catalog, root, path, seen, "waiting")


def _look_at(spot: RootPath) -> FileIdentity | None:
    watched, path = spot
    try:
        return stat_regular(os.fsencode(watched) + b"/" + path)
    except OSError:
        return None
