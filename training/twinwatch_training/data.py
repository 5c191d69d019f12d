"""The training data: a folder of pictures as one uint8 array, decoded exactly as the daemon decodes.

Nothing is written to the folder. A file that is not a picture is skipped and reported, never fatal.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, edited_bytes, pictures_below
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact
from twinwatch.errors import ConfigError, UnreadableError

T = TypeVar("T")

MIN_PICTURES = 50
HELD_OUT_SHARE = 0.05
MIN_HELD_OUT = 10


class Progress(Protocol):
    """Called after each step of a task with its name, the steps done and the steps in all."""

    def __call__(self, task: str, done: int, total: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """The N usable, distinct pictures of a folder, in order of path.

    `pixels`: uint8 [N, side, side, 3], RGB. `fingerprint`: changes whenever a picture is added, removed or changed.
    """

    folder: Path
    paths: tuple[Path, ...]
    pixels: NDArray[np.uint8]
    skipped: tuple[Skipped, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of the pictures that are trained on and of those that are only measured on: disjoint, sorted."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def load_pictures(folder: Path, side: int, progress: Progress, at_least: int = MIN_PICTURES) -> Pictures:
    """Decode every picture below `folder` to side x side pixels.

    Files with the same bytes as an earlier one and nearly uniform pictures are skipped, as training would take them for
    negatives of their own copies.
    Raises ConfigError when fewer than `at_least` pictures remain.
    """
    found = pictures_below(folder)
    rows: list[NDArray[np.uint8]] = []
    paths: list[Path] = []
    skipped: list[Skipped] = []
    hashes: dict[str, Path] = {}
    with in_threads(lambda path: _read(path, side), found) as outcomes:
        for done, (path, outcome) in enumerate(zip(found, outcomes, strict=True), 1):
            if isinstance(outcome, str):
                skipped.append(Skipped(path, outcome))
            elif outcome.sha256 in hashes:
                skipped.append(Skipped(path, f"same bytes as {hashes[outcome.sha256]}"))
            else:
                hashes[outcome.sha256] = path
                paths.append(path)
                rows.append(outcome.pixels)
            progress("decode", done, len(found))
    if len(rows) < at_least:
        first = f"; the first left out: {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise ConfigError(
            f"{folder} holds {len(rows)} usable pictures; at least {at_least} different ones are needed, "
            f"and thousands for a good encoder{first}"
        )
    fingerprint = hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]
    return Pictures(folder, tuple(paths), np.stack(rows), tuple(skipped), fingerprint)


def split(count: int, seed: int) -> Split:
    """Hold out one picture in twenty, and at least ten, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(MIN_HELD_OUT, round(count * HELD_OUT_SHARE))
    return Split(np.sort(order[held_out:]), np.sort(order[:held_out]))


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most `count` of `rows`, evenly spread, so that every folder of the data has its share."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64)]


def edited_copies(paths: Sequence[Path], side: int, progress: Progress) -> dict[str, NDArray[np.uint8]]:
    """Apply every edit to every picture and decode the copies as the daemon would: uint8 [N, side, side, 3] by edit."""

    def copies(path: Path) -> list[NDArray[np.uint8]]:
        return [decode_exact(data, (side, side), MAX_MEGAPIXELS).pixels for data in edited_bytes(path)]

    out = np.empty((len(ALL_EDITS), len(paths), side, side, 3), dtype=np.uint8)
    with in_threads(copies, paths) as all_made:
        for row, made in enumerate(all_made):
            out[:, row] = made
            progress("edit held-out pictures", row + 1, len(paths))
    return dict(zip(ALL_EDITS, out, strict=True))


@contextmanager
def in_threads(work: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[Iterator[T]]:
    """Yield the results of `work` in order; calls that have not begun when the block is left are dropped.

    Pillow releases the interpreter lock while it decodes, so threads are enough.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield pool.map(work, paths)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Decoded:
    pixels: NDArray[np.uint8]
    sha256: str


def _read(path: Path, side: int) -> _Decoded | str:
    """Return the decoded picture, or the reason why the file is skipped."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or "cannot be read"
    try:
        picture = decode_exact(data, (side, side), MAX_MEGAPIXELS)
    except UnreadableError as error:
        return str(error)
    return "nearly uniform" if picture.blank else _Decoded(picture.pixels, hashlib.sha256(data).hexdigest())
