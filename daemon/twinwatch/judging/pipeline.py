"""One file's way, top to bottom: queue, worker, encoder, judgement, log. No step calls back up.

`feed` hands queued files to the workers; what comes back is embedded in batches by one thread and judged by another,
in the order in which it was handed out as far as `line` can hold it.
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

from twinwatch.errors import CatalogError, StorageError
from twinwatch.judging.judge import Arrival, Judge
from twinwatch.judging.resequencer import Resequencer
from twinwatch.judging.watched_root import WatchedRoot
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.search import Bundle, Encoder, ExactIndex, recluster
from twinwatch.store import Catalog, File
from twinwatch.threads import MonitoredThread, raise_if_dead
from twinwatch.wording import show_path
from twinwatch.workers import Inspection, InspectTask, RootOffline, WorkerKilled, WorkerPool, malloc

BATCH = 64
BATCH_WAIT_S = 0.02
IN_FLIGHT = 4 * BATCH
OVERTAKE_S = 1.0
"""For so long a file that is slow to read holds up the judgement of those that came after it."""
RETRY_S, LONGEST_RETRY_S = 5.0, 60.0
MOST_KILLS = 4
"""A file that lost its decoder as often, each time by no provable fault of its own, waits for the next scan."""
_FORESEEN = 64  # files; most have nobody near them
_IDLE_S = 0.5
_ABSENT_S = 5.0
_EMBEDDED_S = 60.0

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class _AllEmbedded:
    """That all of some roots' pictures were embedded in one version of the catalogue, which is believed for a while."""

    roots: list[int]
    version: tuple[int, int]
    until_s: float


class Pipeline:
    """The threads that encode and commit. `feed` is for one thread, which `room` wakes; `stop` ends them all."""

    def __init__(
        self,
        catalog_path: Path,
        bundle: Bundle,
        encoder: Encoder,
        workers: WorkerPool,
        grounds: Mapping[int, WatchedRoot],
        look_again: Callable[[Path, bytes], None],
        log: DuplicatesLog | None,
        room: threading.Event,
    ) -> None:
        self._catalog_path = catalog_path
        self._bundle = bundle
        self._encoder = encoder
        self._workers = workers
        self._grounds = grounds
        self._look_again = look_again
        self.log = log
        self._next_number = 0
        self._in_flight: dict[int, int] = {}  # number -> file id
        self._later: dict[int, float] = {}  # file id -> monotonic time of the next try
        self._tries: dict[int, int] = {}  # file id -> how often it was tried in vain
        self._given_up: set[int] = set()
        self._all_embedded: _AllEmbedded | None = None
        self._lock = threading.Lock()
        self._decoded: queue.SimpleQueue[_Numbered | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Numbered | None] = queue.SimpleQueue()
        self._gone: queue.SimpleQueue[File] = queue.SimpleQueue()
        self._forget_again_s = self._absent_due_s = 0.0
        self._swap: queue.SimpleQueue[ExactIndex] = queue.SimpleQueue()
        self._reclustering: threading.Thread | None = None
        self.judged = 0
        self.beat_s = time.monotonic()
        self._room = room
        self._stopping = threading.Event()
        self._threads = [MonitoredThread("encode", self._encode), MonitoredThread("commit", self._commit)]
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def raise_if_unhealthy(self) -> None:
        """Raises TwinwatchError where a thread has ended, or no decoder can be started."""
        raise_if_dead(self._threads)
        self._workers.require_startable()

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
            files = self._unembedded(catalog, free)
        for file in files:
            known = catalog.known_sha256(file.identity.size_bytes, self._bundle.id)
            self._hand_out(file, self._grounds[file.root_id], known)
        return len(files)

    def forget(self, gone: list[File]) -> None:
        """Let the committing thread drop files that a scan no longer found."""
        for file in gone:
            self._gone.put(file)

    def stop(self) -> None:
        """End the threads after what they are at; whatever is still queued waits in the catalogue."""
        self._stopping.set()
        self._decoded.put(None)
        self._ready.put(None)
        for thread in self._threads:
            thread.join()
        if self._reclustering is not None:
            self._reclustering.join()

    def _unembedded(self, catalog: Catalog, most: int) -> list[File]:
        """Return files that this bundle has not embedded yet.

        To find out looks at every file, so where there are none it is done again only for other roots, or after a while
        in which something has changed.
        """
        roots, version, now_s = list(self._grounds), catalog.version(), time.monotonic()
        known = self._all_embedded
        if known is not None and roots == known.roots and (version == known.version or now_s < known.until_s):
            return []
        files = catalog.lacking_embedding(self._bundle.id, most, roots, self._given_up)
        self._all_embedded = None if files else _AllEmbedded(roots, version, now_s + _EMBEDDED_S)
        return files

    def _hand_out(self, file: File, ground: WatchedRoot, known: frozenset[str]) -> None:
        place = ground.place(file.path)
        limits = self._workers.limits
        task = InspectTask(place, known, self._bundle.input_size, limits.max_file_mb << 20, limits.max_megapixels)
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
        """Thread: a batch goes when it is full, nothing else is on its way, or its oldest has waited long enough."""
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
            if batch and (len(batch) in (BATCH, self.in_flight()) or not open_):
                self._embed(batch)
                batch = []

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
        """Thread: judges one file after the other; each decision is committed and logged before the next."""
        catalog = Catalog(self._catalog_path)
        judge = Judge(catalog, self._bundle, self._workers, self._grounds, self._look_again, self._beat)
        line: Resequencer[_Numbered] = Resequencer(OVERTAKE_S)
        while self._line_up(line) and not self._stopping.is_set():
            self._beat()
            turn = line.turn(time.monotonic())
            if turn is not None:
                soon = line.soon(_FORESEEN)
                self._decide(judge, *turn, [other.arrival for other in soon])
            self._forget_gone(judge)
            self._look_for_absent(judge)
            self._refit(judge)
        catalog.close()

    def _line_up(self, line: Resequencer[_Numbered]) -> bool:
        """Put what is ready in line, waiting for it while nobody has a turn; return False at the end."""
        wait_s = line.until_turn_s(time.monotonic())
        while True:
            try:
                item = self._ready.get(timeout=_IDLE_S if wait_s is None else min(wait_s, _IDLE_S))
            except queue.Empty:
                return True
            if item is None:
                return False
            line.join(item.number, item.arrival.file.id, item, time.monotonic())
            wait_s = 0.0

    def _decide(self, judge: Judge, item: _Numbered, younger: frozenset[int], soon: list[Arrival]) -> None:
        file_id = item.arrival.file.id
        settled = False
        try:
            judge.foresee(item.arrival, soon)
            settled = self._try(judge, item.arrival, younger)
            self._conclude(judge)
        except StorageError as error:
            settled = False
            judge.rollback()
            _log.error("the catalogue cannot be written, trying again", why=str(error))
        with self._lock:
            if settled:
                self._tries.pop(file_id, None)
            else:
                tries = self._tries[file_id] = self._tries.get(file_id, 0) + 1
                self._later[file_id] = time.monotonic() + min(LONGEST_RETRY_S, RETRY_S * 2 ** min(tries - 1, 9))
            del self._in_flight[item.number]
            left = len(self._in_flight)
        self.judged += 1
        if left in (0, IN_FLIGHT - BATCH):
            self._room.set()

    def _try(self, judge: Judge, arrival: Arrival, younger: frozenset[int]) -> bool:
        """Return False where it is to be tried again later. Raises StorageError, CatalogError."""
        path = show_path(arrival.file.path)
        try:
            return judge.decide(arrival, younger)
        except (StorageError, CatalogError):
            raise
        except RootOffline:
            judge.rollback()
            return False
        except (OSError, CancelledError) as error:
            judge.rollback()
            if isinstance(error, WorkerKilled) and self._tries.get(arrival.file.id, 0) + 1 >= MOST_KILLS:
                _log.error("given up until the next scan", path=path, why=str(error))
                judge.set_aside(arrival.file, f"{error}, {MOST_KILLS} times; tried again at the next scan")
                self._given_up.add(arrival.file.id)
                return True
            if not isinstance(error, InterruptedError | CancelledError):  # the daemon is being stopped
                _log.warning("trying again later", path=path, why=str(error))
            return False
        except Exception:  # noqa: BLE001  the daemon survives every file, also one that meets a mistake of ours
            judge.rollback()
            _log.exception("internal error", path=path)
            judge.set_aside(arrival.file, "internal error, see the log; tried again at the next scan")
            self._given_up.add(arrival.file.id)
            return True

    def _forget_gone(self, judge: Judge) -> None:
        while time.monotonic() >= self._forget_again_s and not self._gone.empty() and not self._stopping.is_set():
            self._beat()
            file = self._gone.get()
            try:
                current = judge.catalog.file(file.id)
                # Since the scan it may have been renamed, moved to quarantine, judged or put back.
                same = current is not None and (current.path, current.identity) == (file.path, file.identity)
                if current is not None and same and current.state != "quarantined":
                    judge.forget(current)
                self._conclude(judge)
            except StorageError as error:
                judge.rollback()
                self._gone.put(file)
                self._forget_again_s = time.monotonic() + RETRY_S
                _log.error("the catalogue cannot be written, trying again", why=str(error))

    def _look_for_absent(self, judge: Judge) -> None:
        if time.monotonic() < self._absent_due_s:
            return
        self._absent_due_s = time.monotonic() + _ABSENT_S
        try:
            judge.look_for_absent()
            judge.commit()
        except (OSError, StorageError) as error:
            judge.rollback()
            _log.error("what was away is looked for again later", why=str(error))

    def _beat(self) -> None:
        self.beat_s = time.monotonic()

    def _conclude(self, judge: Judge) -> None:
        """Commit, then log. What cannot be logged is logged later. Raises StorageError."""
        judge.commit()
        if self.log is not None:
            try:
                flush_outbox(judge.catalog, self.log)
            except (OSError, StorageError) as error:
                _log.error("the duplicates log cannot be written, trying again", why=str(error))

    def _refit(self, judge: Judge) -> None:
        """Start clustering anew beside this thread when the library has outgrown its clusters; take the result in."""
        if not self._swap.empty():
            judge.index = _caught_up(self._swap.get(), judge.index)
            self._reclustering = None
            malloc.trim()
        elif self._reclustering is None and judge.index.outgrown():
            keys, vectors = judge.index.vectors()
            self._reclustering = threading.Thread(
                target=lambda: self._swap.put(recluster(keys, vectors)), name="recluster"
            )
            self._reclustering.start()


def _caught_up(fresh: ExactIndex, old: ExactIndex) -> ExactIndex:
    """Return `fresh` with the members that `old` has by now."""
    before, now = fresh.keys(), old.keys()
    for key in np.setdiff1d(before, now).tolist():
        fresh.remove(key)
    for key in np.setdiff1d(now, before).tolist():
        fresh.add(key, old.vector(key))
    return fresh
