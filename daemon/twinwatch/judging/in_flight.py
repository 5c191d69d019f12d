"""Which files are being judged now, which wait for another try, and how often each was tried."""

from __future__ import annotations

import threading
import time

BATCH_ROOM = 64
CAPACITY = 4 * BATCH_ROOM
"""Files on their way at once. The queue in the store holds the rest, so that a flood takes no memory."""
RETRY_S, MAX_RETRY_S = 5.0, 60.0
MAX_KILLS = 4
"""A file that lost its decoder so often, through no provable fault of its own, waits for the next scan."""


class InFlight:
    """Shared by the feeding and the committing thread; every method takes the lock.

    The pause before another try doubles from RETRY_S to MAX_RETRY_S. A retry library would hold a thread or re-run a
    function for each file; here a file waits in the store and only its time is kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_number = 0
        self._files: dict[int, int] = {}  # number -> file id
        self._due_s: dict[int, float] = {}  # file id -> monotonic time of the next try
        self._tries: dict[int, int] = {}  # file id -> failed tries
        self._abandoned: set[int] = set()

    def __len__(self) -> int:
        with self._lock:
            return len(self._files)

    def is_idle(self) -> bool:
        """True when nothing is in flight and nothing waits to be tried again."""
        with self._lock:
            return not self._files and not self._due_s

    def busy(self) -> set[int]:
        """Return the ids of the files that must not be handed out now."""
        with self._lock:
            now_s = time.monotonic()
            self._due_s = {file_id: due_s for file_id, due_s in self._due_s.items() if due_s > now_s}
            return {*self._files.values(), *self._due_s}

    def free(self) -> int:
        with self._lock:
            return CAPACITY - len(self._files)

    def start(self, file_id: int) -> int:
        """Note that a file is handed out; return its number, which counts up from 0."""
        with self._lock:
            number = self._next_number
            self._next_number += 1
            self._files[number] = file_id
            return number

    def finish(self, number: int, settled: bool) -> int:
        """Note that a file was judged, or has to be tried again; return how many are still in flight."""
        with self._lock:
            file_id = self._files.pop(number)
            if settled:
                self._tries.pop(file_id, None)
            else:
                tries = self._tries[file_id] = self._tries.get(file_id, 0) + 1
                self._due_s[file_id] = time.monotonic() + min(MAX_RETRY_S, RETRY_S * 2 ** min(tries - 1, 9))
            return len(self._files)

    def tries(self, file_id: int) -> int:
        with self._lock:
            return self._tries.get(file_id, 0)

    def abandon(self, file_id: int) -> None:
        """Leave a file alone until a scan queues it again."""
        with self._lock:
            self._abandoned.add(file_id)

    def abandoned(self) -> set[int]:
        with self._lock:
            return set(self._abandoned)
