"""End-to-end detection: which copies the daemon would find, and which new pictures it would accuse.

Distance nominates and evidence decides, with the radius and level of the bundle. The leaderboard instead fixes the rate
of false alarms and lets distance alone decide.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, EDITS, HARD_EDITS, edited_bytes, view_of
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact
from twinwatch.evidence import compare
from twinwatch.search import MAX_CANDIDATES, Bundle
from twinwatch_training.calibrate import pairwise
from twinwatch_training.data import Progress
from twinwatch_training.evaluate import mean_recall, onnx_embedder

_CACHED_VIEWS = 64


@dataclass(frozen=True, slots=True)
class FalsePositive:
    """A new picture, and the picture of the library that it was called a copy of."""

    new: Path
    original: Path


@dataclass(frozen=True, slots=True)
class Detection:
    """`recall`: by edit, the share of copies whose own original was found; and every new picture called a copy."""

    recall: dict[str, float]
    misnamed: int  # copies whose original was taken to be another picture
    false_positives: tuple[FalsePositive, ...]
    edited_pictures: int
    library_pictures: int
    new_pictures: int

    def summary(self) -> dict[str, Any]:
        """Return all of it as values for JSON."""
        return {
            "recall": self.recall,
            "misnamed": self.misnamed,
            "accused": [{"new": str(each.new), "original": str(each.original)} for each in self.false_positives],
            "edited_pictures": self.edited_pictures,
            "library_pictures": self.library_pictures,
            "new_pictures": self.new_pictures,
            "mean_recall": mean_recall(self.recall, EDITS),
            "hard_recall": mean_recall(self.recall, HARD_EDITS),
        }


def detect(
    bundle: Bundle, library: Sequence[Path], new: Sequence[Path], edited: Sequence[int], progress: Progress
) -> Detection:
    """Search the library for all edits of its pictures at the rows `edited`, and for new pictures.

    New pictures that truly are copies of library pictures are among the false positives: look at them.
    """
    with ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), _start, (bundle, tuple(library))
    ) as pool:
        false_positives: list[FalsePositive] = []
        for row, found in enumerate(pool.map(_original_of_file, new, chunksize=4)):
            if found is not None:
                false_positives.append(FalsePositive(new[row], library[found]))
            progress("judge new pictures", row + 1, len(new))
        originals = np.empty((len(edited), len(ALL_EDITS)), np.int64)
        for row, found_rows in enumerate(pool.map(_originals_of_copies, edited)):
            originals[row] = found_rows
            progress("judge edited copies", row + 1, len(edited))
    right = originals == np.asarray(edited)[:, None]  # [edited, edits]
    return Detection(
        recall={name: float(right[:, column].mean()) for column, name in enumerate(ALL_EDITS)},
        misnamed=int(((originals >= 0) & ~right).sum()),
        false_positives=tuple(false_positives),
        edited_pictures=len(edited),
        library_pictures=len(library),
        new_pictures=len(new),
    )


class _Worker:
    """The state of one worker process: a bundle, and the library with its embeddings."""

    def __init__(self, bundle: Bundle, library: tuple[Path, ...]) -> None:
        self._embed = onnx_embedder(bundle.encoder_path, threads=1)
        self._bundle = bundle
        self.library = library
        pixels = np.stack([self._decode(path.read_bytes()) for path in library])  # [L, height, width, 3]
        self._embeddings = self._embed(pixels)  # [L, 256]
        self._view = lru_cache(_CACHED_VIEWS)(lambda row: view_of(library[row].read_bytes()))

    def original(self, data: bytes) -> int | None:
        """Return the row of the library picture that `data` is found to be a copy of."""
        manifest = self._bundle.manifest
        embedding = self._embed(self._decode(data)[None])  # [1, 256]
        distances = pairwise(embedding, self._embeddings)[0]  # [L]
        nearest = np.argsort(distances, kind="stable")[:MAX_CANDIDATES]
        copy = view_of(data)
        for row in nearest[distances[nearest] <= self._bundle.radius(embedding[0])]:
            if compare(self._view(int(row)), copy).score >= manifest.evidence_level:
                return int(row)
        return None

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        return decode_exact(data, self._bundle.input_size, MAX_MEGAPIXELS).pixels


_workers: list[_Worker] = []  # exactly one in each process: a pool's functions get no other state


def _start(bundle: Bundle, library: tuple[Path, ...]) -> None:
    _workers.append(_Worker(bundle, library))


def _original_of_file(path: Path) -> int | None:
    return _workers[0].original(path.read_bytes())


def _originals_of_copies(row: int) -> list[int]:
    """Return the row found for each edit of a library picture, -1 for none."""
    worker = _workers[0]
    found = (worker.original(data) for data in edited_bytes(worker.library[row]))
    return [-1 if original is None else original for original in found]
