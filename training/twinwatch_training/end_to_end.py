"""What the daemon would find: nominated by distance, decided by evidence; copies and strangers alike.

Unlike the leaderboard of `evaluate`, which fixes the rate of false alarms, this uses the bundle's own radius and level.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, EDITS, HARD_EDITS, edited_bytes, view_of
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact
from twinwatch.evidence import compare
from twinwatch.search import Bundle
from twinwatch_training.calibrate import MAX_CANDIDATES, pairwise
from twinwatch_training.data import Progress
from twinwatch_training.evaluate import mean_recall, onnx_embedder

_KEPT_VIEWS = 64


@dataclass(frozen=True, slots=True)
class Accusation:
    """A new picture, and the stranger in the library that it was called a copy of."""

    new: Path
    original: Path


@dataclass(frozen=True, slots=True)
class Detection:
    """Share of copies whose own original was named, by edit; and every new picture that was accused."""

    recall: dict[str, float]
    misnamed: int  # copies that were called copies of another picture
    accused: tuple[Accusation, ...]
    edited_pictures: int
    library_pictures: int
    new_pictures: int

    def summary(self) -> dict[str, Any]:
        """The numbers and the accusations as JSON has them."""
        values = asdict(self)
        values["accused"] = [{"new": str(each.new), "original": str(each.original)} for each in self.accused]
        return values | {
            "mean_recall": mean_recall(self.recall, EDITS),
            "hard_recall": mean_recall(self.recall, HARD_EDITS),
        }


def detect(
    bundle: Bundle, library: Sequence[Path], new: Sequence[Path], edited: Sequence[int], progress: Progress
) -> Detection:
    """Judge edited copies of the library pictures numbered `edited`, and new pictures, as the daemon would.

    New pictures that are truly copies of library pictures count as accused: look at them.
    """
    with ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), _start, (bundle, tuple(library))
    ) as pool:
        accused: list[Accusation] = []
        for row, found in enumerate(pool.map(_newcomer, new, chunksize=4)):
            if found is not None:
                accused.append(Accusation(new[row], library[found]))
            progress("judge new pictures", row + 1, len(new))
        named = np.empty((len(edited), len(ALL_EDITS)), np.int64)
        for row, found_rows in enumerate(pool.map(_copies, edited)):
            named[row] = found_rows
            progress("judge edited copies", row + 1, len(edited))
    right = named == np.asarray(edited)[:, None]  # [pictures, edits]
    return Detection(
        recall={name: float(right[:, column].mean()) for column, name in enumerate(ALL_EDITS)},
        misnamed=int(((named >= 0) & ~right).sum()),
        accused=tuple(accused),
        edited_pictures=len(edited),
        library_pictures=len(library),
        new_pictures=len(new),
    )


class _Desk:
    """One process's bundle and library."""

    def __init__(self, bundle: Bundle, library: tuple[Path, ...]) -> None:
        self._embed = onnx_embedder(bundle.encoder_path, threads=1)
        self._bundle = bundle
        self.library = library
        pixels = np.stack([self._small(path.read_bytes()) for path in library])
        self._embeddings = self._embed(pixels)  # [L, 256]
        self._view = lru_cache(_KEPT_VIEWS)(lambda row: view_of(library[row].read_bytes()))

    def original(self, data: bytes) -> int | None:
        """The number of the library picture that `data` is found to be a copy of."""
        manifest = self._bundle.manifest
        embedding = self._embed(self._small(data)[None])  # [1, 256]
        distances = pairwise(embedding, self._embeddings)[0]  # [L]
        nominees = np.argsort(distances, kind="stable")[:MAX_CANDIDATES]
        copy = view_of(data)
        for row in nominees[distances[nominees] <= self._bundle.radius(embedding[0])]:
            if compare(self._view(int(row)), copy).score >= manifest.evidence_level:
                return int(row)
        return None

    def _small(self, data: bytes) -> NDArray[np.uint8]:
        return decode_exact(data, self._bundle.input_size, MAX_MEGAPIXELS).pixels


_desks: list[_Desk] = []  # one in each process


def _start(bundle: Bundle, library: tuple[Path, ...]) -> None:
    _desks.append(_Desk(bundle, library))


def _newcomer(path: Path) -> int | None:
    return _desks[0].original(path.read_bytes())


def _copies(row: int) -> list[int]:
    """The original found for each edit of a library picture, -1 for none."""
    found = (_desks[0].original(data) for data in edited_bytes(_desks[0].library[row]))
    return [-1 if number is None else number for number in found]
