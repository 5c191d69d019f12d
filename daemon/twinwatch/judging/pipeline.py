"""One file's way, top to bottom: queue, worker, encoder, judgement, log.

    watching  puts a file that is still into the store's queue
    feed      hands it to a worker process, which reads, hashes and decodes it
    encode    embeds it, in a batch with others
    judge     decides and applies, one file after the other, in the order in which they were handed out
    report    commits, and writes the line of the duplicates log

Three threads run these steps: feed, encode, and commit, which judges and reports. No step calls back up.
"""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import structlog

from twinwatch.errors import StorageError
from twinwatch.judging import in_flight as limits
from twinwatch.judging.batcher import Batcher
from twinwatch.judging.committer import Committer
from twinwatch.judging.engine import Engine
from twinwatch.judging.feeder import Feeder, Numbered
from twinwatch.judging.in_flight import BATCH_ROOM, CAPACITY, InFlight
from twinwatch.judging.index_upkeep import Reclustering
from twinwatch.judging.judge import Judge
from twinwatch.judging.resequencer import Resequencer
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.reporting import DuplicatesLog
from twinwatch.store import open_store
from twinwatch.threads import Heartbeat, MonitoredThread, raise_if_dead

OVERTAKE_S = 1.0
"""For so long a file that is slow to read holds up the judgement of those that came after it."""
_IDLE_S = 0.5
_POLL_S = 0.5
_DRAIN_POLL_S = 0.05
PREFETCHED = 64
"""Files whose evidence is sought ahead of their turn; most have nothing near them."""

_log = structlog.get_logger("twinwatch")


class Pipeline:
    """The threads that feed, encode and commit. `stop` ends them all; `work_arrived` wakes the feeding one."""

    def __init__(
        self,
        store_path: Path,
        engine: Engine,
        roots: WatchedRoots,
        log: DuplicatesLog | None,
        work_arrived: threading.Event,
    ) -> None:
        self._store_path = store_path
        self._engine = engine
        self._roots = roots
        self._log = log
        self._work_arrived = work_arrived
        self._stopping = threading.Event()
        self._draining = threading.Event()
        self._in_flight = InFlight()
        self._embedded: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()
        self._batcher = Batcher(engine.encoder, self._in_flight, self._embedded.put)
        self._feeder = Feeder(engine, roots, self._in_flight, self._batcher.decoded.put)
        self._reclustering = Reclustering()
        self._heartbeats = {"feed": Heartbeat(), "commit": Heartbeat()}
        self.judged = 0
        self._threads = [
            MonitoredThread("feed", self._feed),
            MonitoredThread("encode", self._batcher.run),
            MonitoredThread("commit", self._commit),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def beat_s(self) -> float:
        """The monotonic time at which the slowest thread last gave a sign of life."""
        return min(heartbeat.last_s for heartbeat in self._heartbeats.values())

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def raise_if_unhealthy(self) -> None:
        """Raises TwinwatchError where a thread has ended, or no decoder can be started."""
        raise_if_dead(self._threads)
        self._engine.workers.require_startable()

    def in_flight(self) -> int:
        return len(self._in_flight)

    def idle(self) -> bool:
        """True when nothing is in flight, nothing waits for another try, and the last look found nothing queued."""
        return self._feeder.found_nothing and self._in_flight.is_idle()

    def drain(self, timeout_s: float) -> None:
        """Feed nothing more, and wait until what is in flight was judged, or the time is over."""
        self._draining.set()
        until_s = time.monotonic() + timeout_s
        while self.in_flight() and time.monotonic() < until_s:
            time.sleep(_DRAIN_POLL_S)

    def stop(self) -> None:
        """End the threads after what they are at; whatever is still queued waits in the store."""
        self._stopping.set()
        self._work_arrived.set()
        self._batcher.decoded.put(None)
        self._embedded.put(None)
        for thread in self._threads:
            thread.join()
        self._reclustering.join()

    def _feed(self) -> None:
        """Thread: hands queued files to the workers."""
        store = open_store(self._store_path)
        while not self._stopping.is_set() and not self._draining.is_set():
            self._heartbeats["feed"].beat()
            self._work_arrived.clear()
            try:
                fed = self._feeder.feed(store)
            except InterruptedError:
                break  # the decoders were closed meanwhile
            except (OSError, StorageError) as error:
                _log.error("the queue cannot be read, trying again", why=str(error))
                fed = 0
                self._stopping.wait(limits.RETRY_S)
            if not fed:
                self._work_arrived.wait(_POLL_S)
        store.close()

    def _commit(self) -> None:
        """Thread: judges one file after the other; each judgement is committed and logged before the next."""
        store = open_store(self._store_path)
        judge = Judge(store, self._engine, self._roots, self._heartbeats["commit"])
        committer = Committer(judge, self._in_flight, self._log)
        ready: Resequencer[Numbered] = Resequencer(OVERTAKE_S)
        while self._receive(ready) and not self._stopping.is_set():
            self._heartbeats["commit"].beat()
            turn = ready.pop(time.monotonic())
            if turn is not None:
                item, overtaken_by = turn
                committer.judge(item, overtaken_by, [other.arrival for other in ready.peek(PREFETCHED)])
                self.judged += 1
                if len(self._in_flight) in (0, CAPACITY - BATCH_ROOM):
                    self._work_arrived.set()
            committer.forget_gone(self._stopping)
            committer.look_for_missing()
            self._reclustering.step(store)
        store.close()

    def _receive(self, ready: Resequencer[Numbered]) -> bool:
        """Take in what is embedded, waiting for it while no file has its turn; return False at the end."""
        wait_s = ready.until_pop_s(time.monotonic())
        while True:
            try:
                item = self._embedded.get(timeout=_IDLE_S if wait_s is None else min(wait_s, _IDLE_S))
            except queue.Empty:
                return True
            if item is None:
                return False
            ready.push(item.number, item.arrival.file.id, item, time.monotonic())
            wait_s = 0.0
