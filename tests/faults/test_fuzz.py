"""Fuzz test: damaged pictures of every format in real decoder processes. Each ends as a picture or as a refusal.

An input that crashes a native decoder may cost its process, but no other input. No process grows over time.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from fault_counts import PROVE, Counting, scaled
from faults.mutation import damaged, seeds
from twinwatch.config import Limits
from twinwatch.decoding import decode_exact, decode_fit
from twinwatch.decoding.decode import FORMATS
from twinwatch.errors import UnreadableError
from twinwatch.workers import WorkerCrashed, WorkerPool

LIMITS = Limits(max_megapixels=20, decode_seconds=20, decode_memory_mb=768, workers=2)
BATCH = 50
SIDE = 64
MOST_GROWTH_MB = 32

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


@dataclass(frozen=True)
class Decode:
    """Task: decode each input in both forms.

    Returns the outcome of each ("picture", "refused", or what went wrong), the process id and its size in MB.
    """

    inputs: list[bytes]

    def run(self) -> tuple[list[str], int, float]:
        return [_outcome(data) for data in self.inputs], os.getpid(), _resident_mb()


def _outcome(data: bytes) -> str:
    try:
        exact = decode_exact(data, (SIDE, SIDE), LIMITS.max_megapixels)
        fitting = decode_fit(data, SIDE, LIMITS.max_megapixels)
    except UnreadableError as error:
        return "refused" if str(error) else "refused without a reason"
    except Exception as error:  # noqa: BLE001  each is a violation, to be shown with its input's number
        return repr(error)
    fits = exact.pixels.shape == (SIDE, SIDE, 3) and max(fitting.pixels.shape[:2]) <= SIDE
    return "picture" if fits else f"pictures of {exact.pixels.shape} and {fitting.pixels.shape}"


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Fuzz:
    """Sends inputs to a pool in batches. If a batch loses its process, each of its inputs is tried again alone."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self.outcomes: Counter[str] = Counter()
        self.mistakes: dict[int, str] = {}  # by number of the input
        self.lost: dict[int, str] = {}
        self.resident_mb: dict[int, list[float]] = {}  # by process

    def run(self, count: int) -> None:
        waiting: list[tuple[range, Future[Any]]] = []
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            waiting.append((numbers, self._submit(numbers)))
            if len(waiting) > 2 * LIMITS.worker_count:
                self._take(*waiting.pop(0))
            self.resident_mb.setdefault(os.getpid(), []).append(_resident_mb())
        for numbers, future in waiting:
            self._take(numbers, future)

    def _submit(self, numbers: range) -> Future[Any]:
        task: Any = Decode([damaged(number) for number in numbers])
        return self._pool.inspect(task)

    def _take(self, numbers: range, future: Future[Any]) -> None:
        try:
            outcomes, pid, resident_mb = future.result()
        except WorkerCrashed as error:
            if len(numbers) == 1:
                self.lost[numbers[0]] = str(error)
                return
            for number in numbers:
                alone = range(number, number + 1)
                self._take(alone, self._submit(alone))
            return
        self.resident_mb.setdefault(pid, []).append(resident_mb)
        for number, outcome in zip(numbers, outcomes, strict=True):
            self.outcomes[outcome] += 1
            if outcome not in ("picture", "refused"):
                self.mistakes[number] = outcome


def _growth_mb(resident_mb: list[float]) -> float:
    """Return by how many MB a process is larger in the second half of its life than in the first."""
    half = len(resident_mb) // 2
    return median(resident_mb[half:]) - median(resident_mb[:half]) if half else 0.0


def test_every_format_is_damaged() -> None:
    assert {decode_exact(data, (SIDE, SIDE), 1).format for data in seeds().values()} == set(FORMATS)


def test_damaged_pictures_end_as_a_picture_or_a_refusal(counting: Counting) -> None:
    count = scaled(1_500, 100_000)
    pool = WorkerPool(LIMITS)
    fuzz = Fuzz(pool)
    with counting("a damaged file of one of all formats and variants decoded") as tally:
        try:
            fuzz.run(count)
        finally:
            pool.close()
        tally.inject(fuzz.outcomes.total() + len(fuzz.lost))
        print(f"{dict(fuzz.outcomes)}; lost with their process: {fuzz.lost}")
        assert not fuzz.mistakes
        # A signal is a native decoder's crash, which the pool is there to survive; an input that hangs is a mistake.
        assert all("crashed the decoder (exit code -" in why for why in fuzz.lost.values()), fuzz.lost
        assert tally.injected == count
        assert min(fuzz.outcomes["picture"], fuzz.outcomes["refused"]) > count / 10
        growth_mb = {pid: round(_growth_mb(each)) for pid, each in fuzz.resident_mb.items()}
        assert max(growth_mb.values()) < MOST_GROWTH_MB, growth_mb
