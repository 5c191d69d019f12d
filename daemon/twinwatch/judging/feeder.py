"""From the store's queue to the workers: hands out files while there is room."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from twinwatch.judging.engine import Engine
from twinwatch.judging.facts import Arrival
from twinwatch.judging.in_flight import BATCH_ROOM, InFlight
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.store import File, Store
from twinwatch.workers import Inspection, InspectTask

ALL_EMBEDDED_S = 60.0


@dataclass(frozen=True, slots=True)
class Numbered:
    """An arrival, and its number in the order in which files were handed out."""

    number: int
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class _AllEmbedded:
    """That all pictures of some roots were embedded in one version of the store, which is believed for a while."""

    root_ids: list[int]
    version: object
    until_s: float


class Feeder:
    """For one thread. `deliver` is called by the workers' threads with each file that was read."""

    def __init__(
        self, engine: Engine, roots: WatchedRoots, in_flight: InFlight, deliver: Callable[[Numbered], None]
    ) -> None:
        self._bundle = engine.bundle
        self._workers = engine.workers
        self._roots = roots
        self._in_flight = in_flight
        self._deliver = deliver
        self._all_embedded: _AllEmbedded | None = None
        self.found_nothing = False  # at the last look at the queue, which had room

    def feed(self, store: Store) -> int:
        """Hand queued files to the workers while there is room; return how many."""
        busy, free = self._in_flight.busy(), self._in_flight.free()
        if free < BATCH_ROOM:
            return 0
        root_ids = self._roots.ids()
        files = store.queue.next(free, root_ids, busy)
        if not files and not busy:
            files = self._unembedded(store, root_ids, free)
        for file in files:
            self._hand_out(file, store.contents.known_sha256(file.identity.size_bytes, self._bundle.id))
        self.found_nothing = not files and not busy
        return len(files)

    def _unembedded(self, store: Store, root_ids: list[int], limit: int) -> list[File]:
        """Return files that this bundle has not embedded yet.

        The query looks at every file. Where it found none, it runs again only for other roots, or after a while in
        which something has changed.
        """
        version, now_s = store.version(), time.monotonic()
        known = self._all_embedded
        if known is not None and root_ids == known.root_ids and (version == known.version or now_s < known.until_s):
            return []
        files = store.contents.lacking_embedding(self._bundle.id, limit, root_ids, self._in_flight.abandoned())
        self._all_embedded = None if files else _AllEmbedded(root_ids, version, now_s + ALL_EMBEDDED_S)
        return files

    def _hand_out(self, file: File, known_sha256: frozenset[str]) -> None:
        root = self._roots.get(file.root_id)
        if root is None:
            return
        ref, limits = root.ref(file.path), self._workers.limits
        task = InspectTask(ref, known_sha256, self._bundle.input_size, limits.max_file_mb << 20, limits.max_megapixels)
        number = self._in_flight.start(file.id)

        def done(future: Future[Inspection]) -> None:
            try:
                arrival = Arrival(file, ref, future.result(), None)
            except (Exception, CancelledError) as error:  # noqa: BLE001  whatever happened is this file's outcome
                arrival = Arrival(file, ref, None, error)
            self._deliver(Numbered(number, arrival))

        self._workers.inspect(task).add_done_callback(done)
