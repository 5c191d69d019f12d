"""Worker processes that edit pictures and compare them; each knows the paths of the whole library."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration.edits import edited_bytes
from twinwatch.calibration.pictures import view_of
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact
from twinwatch.errors import UnreadableError
from twinwatch.evidence import compare

_CACHED_VIEWS = 64


@dataclass(frozen=True, slots=True)
class EditedCopies:
    """The copies of one picture, one for each edit of ALL_EDITS and in that order.

    `pixels`: uint8 [edits, height, width, 3], at the encoder's size. `scores`: the evidence of each copy with its
    original, 0 to 1.
    """

    pixels: NDArray[np.uint8]
    scores: list[float]


class WorkerPool:
    """Runs edits and comparisons in one process for each core. Pictures are named by their row in the library."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def edit(self, rows: Sequence[int]) -> Iterator[EditedCopies | None]:
        """Yield the edited copies of each picture; None for one that was removed or changed since it was read."""
        return self._pool.map(_edit, rows)

    def compare(self, pairs: Sequence[tuple[int, int]]) -> Iterator[float]:
        """Yield the evidence of each pair, 0 to 1; 0 where a picture was removed or changed since it was read."""
        return self._pool.map(_compare, pairs, chunksize=8)


@contextmanager
def worker_pool(paths: tuple[Path, ...], size: tuple[int, int]) -> Iterator[WorkerPool]:
    """Start workers for the library at `paths` and an encoder that takes `size`, (width, height) in pixels."""
    # Spawned, so that no worker inherits a lock that a thread of ours holds.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _start, (paths, size)) as pool:
        yield WorkerPool(pool)


class _Worker:
    """The state of one worker process."""

    def __init__(self, paths: tuple[Path, ...], size: tuple[int, int]) -> None:
        self.paths = paths
        self.size = size
        self.view = lru_cache(_CACHED_VIEWS)(lambda row: view_of(paths[row].read_bytes()))


_workers: list[_Worker] = []  # exactly one in each process: a pool's functions get no other state


def _start(paths: tuple[Path, ...], size: tuple[int, int]) -> None:
    _workers.append(_Worker(paths, size))


def _edit(row: int) -> EditedCopies | None:
    worker = _workers[0]
    try:
        original, copies = worker.view(row), list(edited_bytes(worker.paths[row]))
    except (OSError, UnreadableError):
        return None
    pixels = np.stack([decode_exact(data, worker.size, MAX_MEGAPIXELS).pixels for data in copies])
    return EditedCopies(pixels, [compare(original, view_of(data)).score for data in copies])


def _compare(pair: tuple[int, int]) -> float:
    try:
        one, other = (_workers[0].view(row) for row in pair)
    except (OSError, UnreadableError):
        return 0.0
    return compare(one, other).score
