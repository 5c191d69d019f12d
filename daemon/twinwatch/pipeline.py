"""One file's way, top to bottom: queue, worker, encoder, judgement, log. No step calls back up.

`feed` hands queued files to the workers; what comes back is embedded in batches by one thread and judged by another,
in the order in which it was handed out.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from twinwatch.bundle import Bundle
from twinwatch.catalog import Catalog, File, StorageError
from twinwatch.config import Limits
from twinwatch.duplog import DuplicatesLog, show_path, write_unlogged
from twinwatch.encoder import Encoder
from twinwatch.index import Index, recluster
from twinwatch.judgement import Arrival, Ground, Judge
from twinwatch.workers import Inspect, Inspection, RootAway, Workers

BATCH = 64
BATCH_WAIT_S = 0.02
IN_FLIGHT = 4 * BATCH
RETRY_S = 5.0
_IDLE_S = 0.5

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    arrival: Arrival


class Pipeline:
    """The threads that encode and commit. `feed` is for one thread, which `room` wakes; `stop` ends them all."""

    def __init__(
        self,
        catalog_path: Path,
        bundle: Bundle,
        encoder: Encoder,
        workers: Workers,
        limits: Limits,
        grounds: Mapping[int, Ground],
        look_again: Callable[[Path, bytes], None],
        log: DuplicatesLog | None,
        room: threading.Event,
    ) -> None:
        self._catalog_path = catalog_path
        self._bundle = bundle
        self._encoder = encoder
        self._workers = workers
        self._limits = limits
        self._grounds = grounds
        self._look_again = look_again
        self.log = log
        self._next_number = 0
        self._in_flight: dict[int, int] = {}  # number -> file id
        self._later: dict[int, float] = {}  # file id -> monotonic time of the next try
        self._lock = threading.Lock()
        self._decoded: queue.SimpleQueue[_Numbered | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Numbered | None] = queue.SimpleQueue()
        self._gone: queue.SimpleQueue[File] = queue.SimpleQueue()
        self._swap: queue.SimpleQueue[Index] = queue.SimpleQueue()
        self._reclustering: threading.Thread | None = None
        self.judged = 0
        self.beat_s = time.monotonic()
        self._room = room
        self._threads = [
            threading.Thread(target=self._encode, name="encode"),
            threading.Thread(target=self._commit, name="commit"),
        ]
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def in_flight(self) -> int:
        with self._lock:
            return len(self._in_flight)

    def idle(self) -> bool:
        """True when nothing is in flight and nothing waits to be tried again."""
        with self._lock:
            return not self._in_flight and not self._later

    def feed(self, catalog: Catalog) -> int:
        """Hand queued files to the workers while there is room; return how many."""
        with self._lock:
            now_s = time.monotonic()
            self._later = {file_id: at for file_id, at in self._later.items() if at > now_s}
            busy = {*self._in_flight.values(), *self._later}
            free = IN_FLIGHT - len(self._in_flight)
        if free < BATCH:
            return 0
        files = catalog.waiting(free, list(self._grounds), busy)
        if not files and not busy:
            files = catalog.lacking_embedding(self._bundle.id, free, list(self._grounds), busy)
        for file in files:
            known = catalog.known_sha256(file.identity.size_bytes, self._bundle.id)
            self._hand_out(file, self._grounds[file.root_id], known)
        return len(files)

    def forget(self, gone: list[File]) -> None:
        """Let the committing thread drop files that a scan no longer found."""
        for file in gone:
            self._gone.put(file)

    def stop(self) -> None:
        """End the threads once what they hold is done; whatever is still queued waits in the catalogue."""
        self._decoded.put(None)
        for thread in self._threads:
            thread.join()
        if self._reclustering is not None:
            self._reclustering.join()

    def _hand_out(self, file: File, ground: Ground, known: frozenset[str]) -> None:
        place = ground.place(file.path)
        task = Inspect(
            place, known, self._bundle.input_size, self._limits.max_file_mb << 20, self._limits.max_megapixels
        )
        with self._lock:
            number = self._next_number
            self._next_number += 1
            self._in_flight[number] = file.id

        def done(future: Future[Inspection]) -> None:
            try:
                arrival = Arrival(file, place, future.result(), None)
            except (Exception, CancelledError) as error:  # noqa: BLE001  whatever happened is this file's outcome
                arrival = Arrival(file, place, None, error)
            self._decoded.put(_Numbered(number, arrival))

        self._workers.inspect(task).add_done_callback(done)

    def _encode(self) -> None:
        """Thread: a batch goes when it is full or its oldest picture has waited long enough."""
        batch: list[_Numbered] = []
        oldest_s = 0.0
        open_ = True
        while open_ or batch:
            try:
                item = self._decoded.get(
                    timeout=max(0.0, oldest_s + BATCH_WAIT_S - time.monotonic()) if batch else None
                )
            except queue.Empty:
                self._embed(batch)
                batch = []
                continue
            if item is None:
                open_ = False
            elif item.arrival.inspection is None or item.arrival.inspection.picture is None:
                self._ready.put(item)
                continue
            else:
                oldest_s = oldest_s if batch else time.monotonic()
                batch.append(item)
            if batch and (len(batch) == BATCH or not open_):
                self._embed(batch)
                batch = []
        self._ready.put(None)

    def _embed(self, batch: list[_Numbered]) -> None:
        pictures = [item.arrival.inspection.picture for item in batch if item.arrival.inspection]
        pixels = np.stack([picture.pixels for picture in pictures if picture])  # [N, H, W, 3]
        try:
            embeddings = self._encoder.embed(pixels)  # [N, 256]
        except Exception as error:  # noqa: BLE001  ONNX Runtime has no common error; the batch is tried again
            _log.exception("encoding failed, trying again later")
            for item in batch:
                self._ready.put(
                    replace(item, arrival=replace(item.arrival, inspection=None, failure=OSError(str(error))))
                )
            return
        for item, embedding in zip(batch, embeddings, strict=True):
            self._ready.put(replace(item, arrival=replace(item.arrival, embedding=embedding)))

    def _commit(self) -> None:
        """Thread: judges in order of number; each decision is committed and logged before the next."""
        catalog = Catalog(self._catalog_path)
        judge = self._judge(catalog)
        held: dict[int, _Numbered] = {}
        next_number = 0
        open_ = True
        while open_ or held:
            self.beat_s = time.monotonic()
            try:
                item = self._ready.get(timeout=_IDLE_S) if open_ else None
            except queue.Empty:
                item = None
            else:
                open_ = item is not None
            if item is not None:
                held[item.number] = item
            while next_number in held:
                self.beat_s = time.monotonic()
                judge = self._decide(judge, held.pop(next_number))
                next_number += 1
            while not self._gone.empty():
                judge = self._forget(judge, self._gone.get())
            self._refit(judge)
        catalog.close()

    def _judge(self, catalog: Catalog) -> Judge:
        index = Index(self._bundle.centroids)
        for key, vector in catalog.living_embeddings(self._bundle.id):
            index.add(key, vector)
        return Judge(catalog, index, self._bundle, self._workers, self._limits, self._grounds, self._look_again)

    def _decide(self, judge: Judge, item: _Numbered) -> Judge:
        arrival = item.arrival
        try:
            judge.decide(arrival)
            judge = self._conclude(judge)
        except RootAway:
            judge.catalog.rollback()
            self._postpone(arrival.file.id)
        except (OSError, StorageError, CancelledError) as error:
            judge.catalog.rollback()
            self._postpone(arrival.file.id)
            _log.warning("trying again later", path=show_path(arrival.file.path), why=str(error))
        except Exception:  # noqa: BLE001  the daemon survives every file, also one that meets a mistake of ours
            judge.catalog.rollback()
            _log.exception("internal error", path=show_path(arrival.file.path))
            # Not the file's fault, so the next scan shall find it changed, and it is tried again.
            again = {"queue": None, "content_id": None, "mtime_ns": -1}
            judge.catalog.set_file(arrival.file.id, state="unreadable", refusal="internal error, see the log", **again)
            judge = self._conclude(judge)
        with self._lock:
            del self._in_flight[item.number]
            left = len(self._in_flight)
        self.judged += 1
        if left in (0, IN_FLIGHT - BATCH):
            self._room.set()
        return judge

    def _forget(self, judge: Judge, file: File) -> Judge:
        current = judge.catalog.file(file.id)
        # Since the scan it may have been renamed, judged or put back.
        if current is not None and current.path == file.path and current.identity == file.identity:
            judge.forget(current)
        return self._conclude(judge)

    def _conclude(self, judge: Judge) -> Judge:
        """Commit, then log. What cannot be committed is judged again; what cannot be logged is logged later."""
        try:
            judge.catalog.commit()
        except StorageError as error:
            _log.error("the catalogue cannot be written, trying again", why=str(error))
            judge.catalog.rollback()
            return self._judge(judge.catalog)  # the index may hold what was rolled back
        if self.log is not None:
            try:
                write_unlogged(judge.catalog, self.log)
            except (OSError, StorageError) as error:
                judge.catalog.rollback()
                _log.error("the duplicates log cannot be written, trying again", why=str(error))
        return judge

    def _postpone(self, file_id: int) -> None:
        with self._lock:
            self._later[file_id] = time.monotonic() + RETRY_S

    def _refit(self, judge: Judge) -> None:
        """Start clustering anew beside this thread when the library has outgrown its clusters; take the result in."""
        if not self._swap.empty():
            fresh = self._swap.get()
            keys, vectors = judge.index.vectors()
            for key in set(fresh.keys()).difference(keys.tolist()):
                fresh.remove(key)
            for key, vector in zip(keys, vectors, strict=True):
                if int(key) not in fresh:
                    fresh.add(int(key), vector)
            judge.index = fresh
            self._reclustering = None
        elif self._reclustering is None and judge.index.outgrown():
            keys, vectors = judge.index.vectors()
            self._reclustering = threading.Thread(
                target=lambda: self._swap.put(recluster(keys, vectors)), name="recluster"
            )
            self._reclustering.start()
