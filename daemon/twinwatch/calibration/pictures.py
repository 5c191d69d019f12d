"""The pictures of a folder that can be measured on. Nothing in the folder is changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.config import SUFFIXES
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact, decode_fit
from twinwatch.errors import ConfigError, UnreadableError
from twinwatch.evidence import EVIDENCE_SIDE, View
from twinwatch.fs import stat_regular

_MAX_BYTES = 512 << 20  # the default of limits.max_file_mb

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, how many of its steps are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Library:
    """The usable pictures, no two with the same bytes.

    `paths`: N of them. `pixels`: uint8 [N, height, width, 3], RGB, at the size that the encoder takes.
    """

    paths: tuple[Path, ...]
    pixels: NDArray[np.uint8]


def pictures_below(folder: Path) -> list[Path]:
    """Return the files below `folder` that are pictures by their suffix, in order of path.

    Links, pipes, hidden folders and files beyond 512 MiB are left out. Raises ConfigError if `folder` is not a folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name one that holds pictures like those to come")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if Path(name).suffix.lower().removeprefix(".") in SUFFIXES]
    return sorted(path for path in found if _is_measurable(path))


def read_library(files: Sequence[Path], size: tuple[int, int], progress: Progress) -> Library:
    """Decode `files` to `size`, (width, height) in pixels.

    Left out: what cannot be read or decoded, uniform pictures, and files with the same bytes as an earlier one.
    """

    def read(path: Path) -> tuple[str, NDArray[np.uint8]] | None:
        try:
            data = path.read_bytes()
            picture = decode_exact(data, size, MAX_MEGAPIXELS)
        except (OSError, UnreadableError):
            return None
        return None if picture.blank else (hashlib.sha256(data).hexdigest(), picture.pixels)

    hashes: set[str] = set()
    paths: list[Path] = []
    rows: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (path, outcome) in enumerate(zip(files, pool.map(read, files), strict=True), 1):
            if outcome is not None and outcome[0] not in hashes:
                hashes.add(outcome[0])
                paths.append(path)
                rows.append(outcome[1])
            progress("read", done, len(files))
    width, height = size
    return Library(tuple(paths), np.stack(rows) if rows else np.empty((0, height, width, 3), np.uint8))


def view_of(data: bytes) -> View:
    """Decode the bytes of a file to the view that evidence compares. Raises UnreadableError."""
    return View.of(decode_fit(data, EVIDENCE_SIDE, MAX_MEGAPIXELS).pixels)


def _is_measurable(path: Path) -> bool:
    seen = stat_regular(os.fsencode(path))
    return seen is not None and seen.size_bytes <= _MAX_BYTES
