"""How well a bundle does on a site's own pictures, and the radius and evidence level that suit them.

Some pictures of a folder are edited in every way of `edits`, which shows what would be found; each picture is also
taken as new to a library of all others, which shows who would be accused wrongly. Nothing in the folder is changed.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration.edits import ALL_EDITS, edited_bytes
from twinwatch.calibration.rates import Rate, trials_needed
from twinwatch.config import SUFFIXES
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact, decode_fit
from twinwatch.errors import ConfigError, TwinwatchError, UnreadableError
from twinwatch.evidence import EVIDENCE_SIDE, View, compare
from twinwatch.fs import stat_regular
from twinwatch.search import MAX_CANDIDATES, Bundle, Encoder, ErrorRate, write_bundle
from twinwatch.wording import pluralize, show_path

MIN_PICTURES = 20
LEVELS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Below the first a stranger may pass by chance, whatever a small sample says."""

_COPIES_WITHIN = 0.99  # of all edited copies, which the radius has to reach
_STRANGERS_WITHIN = 0.2  # of new pictures that may have a stranger within it; each costs a look at the pixels
_KEPT_VIEWS = 64
_MAX_BYTES = 512 << 20  # as limits.max_file_mb has it
_SUSPICIONS_SHOWN = 20

Progress = Callable[[str, int, int], None]
"""Told the name of a task, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class SuspectPair:
    """Two different files of the folder that the chosen levels would call copies."""

    one: Path
    other: Path
    distance: float
    evidence: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen radius (L2, a usual picture's) and evidence level, and what was measured at them; recall by edit."""

    radius: float
    level: float
    nominated: dict[str, Rate]
    found: dict[str, Rate]
    accused: Rate
    bearable: float  # share of new pictures that may be accused wrongly
    suspicions: tuple[SuspectPair, ...]
    left_out: int

    @property
    def reached(self) -> bool:
        """Whether no more were accused than is bearable."""
        return self.accused.share <= self.bearable

    @property
    def proven(self) -> bool:
        """Whether the sample is large enough to say so with 95% confidence."""
        return self.accused.high <= self.bearable

    @property
    def pictures_needed(self) -> int:
        """How many pictures of which none is accused would prove the bearable rate."""
        return trials_needed(self.bearable)


def calibrate(
    bundle: Bundle, encoder: Encoder, files: Sequence[Path], bearable: float, sample: int, limit: int, seed: int,
    progress: Progress,
) -> Calibration:  # fmt: skip
    """Measure a bundle on pictures in `files` and choose its radius and evidence level for them.

    `bearable` is the share of new pictures that may be accused wrongly. At most `limit` pictures are looked at and
    `sample` of them edited, both drawn by `seed`. Raises ConfigError for fewer than 20 usable pictures.
    """
    drawn = np.random.default_rng(seed).permutation(len(files))[:limit]
    paths, small = _read([files[row] for row in np.sort(drawn)], bundle.input_size, progress)
    if len(paths) < MIN_PICTURES:
        raise ConfigError(
            f"there are {len(paths)} usable pictures that differ; at least {MIN_PICTURES} are needed to measure "
            f"anything, and thousands to tell of rare mistakes"
        )
    known = _embed(encoder, small)  # [N, 256]
    remote = bundle.radius_correction(known)  # [N]
    sampled = np.sort(np.random.default_rng(seed).permutation(len(paths))[:sample]).tolist()
    with ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), _start, (tuple(paths), bundle.input_size)
    ) as pool:
        far = np.empty((len(sampled), len(ALL_EDITS)), np.float32)  # each copy to its original
        nearer = np.empty(far.shape, np.int64)  # how many strangers are nearer
        scores = np.empty(far.shape, np.float32)  # evidence of each copy with its original
        there = np.zeros(len(sampled), np.bool_)
        for done, (row, judged) in enumerate(zip(sampled, pool.map(_edited, sampled), strict=True)):
            progress("edit pictures", done + 1, len(sampled))
            if judged is None:
                continue
            copies = _embed(encoder, judged.pixels)  # [edits, 256]
            distances = _distances(copies, known)  # [edits, N]
            far[done] = distances[:, row] - bundle.radius_correction(copies)
            nearer[done] = (distances < distances[:, row, None]).sum(axis=1)
            scores[done] = judged.scores
            there[done] = True
        if not there.any():
            raise ConfigError("the pictures went away while they were looked at; bring them back, run again")
        far, nearer, scores = far[there], nearer[there], scores[there]
        near = _nearest(known)[:, 0] - remote
        reach = float(np.quantile(far, _COPIES_WITHIN))
        radius = min(reach, float(np.quantile(near, _STRANGERS_WITHIN)))
        pairs = sorted(_pairs(known, radius + remote))
        evidence: list[float] = []
        for score in pool.map(_compare, pairs, chunksize=8):
            evidence.append(score)
            progress("compare strangers", len(evidence), len(pairs))
    level = _level(pairs, evidence, len(paths), bearable)
    nominated = (far <= radius) & (nearer < MAX_CANDIDATES)
    found = nominated & (scores >= level)
    suspected = [
        SuspectPair(paths[one], paths[other], float(np.linalg.norm(known[one] - known[other])), score)
        for (one, other), score in zip(pairs, evidence, strict=True)
        if score >= level
    ]
    return Calibration(
        radius=radius,
        level=level,
        nominated={name: Rate(int(nominated[:, column].sum()), len(far)) for column, name in enumerate(ALL_EDITS)},
        found={name: Rate(int(found[:, column].sum()), len(far)) for column, name in enumerate(ALL_EDITS)},
        accused=Rate(_accused(pairs, evidence, level), len(paths)),
        bearable=bearable,
        suspicions=tuple(sorted(suspected, key=lambda each: -each.evidence)),
        left_out=len(drawn) - len(paths),
    )


def pictures_below(folder: Path) -> list[Path]:
    """Return the files that look like pictures, in order of path: no links, no pipes, nothing beyond 512 MB.

    Raises ConfigError for what is no folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name one that holds pictures like those to come")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if Path(name).suffix.lower().removeprefix(".") in SUFFIXES]
    return sorted(path for path in found if _takes(path))


def _takes(path: Path) -> bool:
    seen = stat_regular(os.fsencode(path))
    return seen is not None and seen.size_bytes <= _MAX_BYTES


def calibrated(bundle: Bundle, calibration: Calibration, out: Path) -> Bundle:
    """Write a bundle of the same encoder with the chosen radius and level to `out`; embeddings stay comparable.

    Raises TwinwatchError where no level keeps to what is bearable.
    """
    if not calibration.reached:
        raise TwinwatchError(f"no bundle is written to {out}, as none would keep to what is bearable: see above")
    manifest = bundle.manifest.model_copy(
        update={
            "nomination_radius": calibration.radius,
            "evidence_level": calibration.level,
            "error_rate": ErrorRate(
                edit_recall={name: rate.share for name, rate in calibration.nominated.items()},
                false_alarm_rate=calibration.accused.share,
                library_pictures=calibration.accused.of,
                query_pictures=calibration.accused.of,
            ),
        }
    )
    return write_bundle(out, bundle.encoder_path.read_bytes(), bundle.centroids, manifest)


def findings(calibration: Calibration) -> list[str]:
    """What was found, in sentences for the admin."""
    accused, most = calibration.accused, 10_000 * calibration.bearable
    lines = [
        f"nomination radius {calibration.radius:.4f}, evidence level {calibration.level:.2f}",
        f"{pluralize(accused.hits, 'picture')} of {accused.of} accused, each taken as new to the others: "
        f"{10_000 * accused.share:.1f} in 10,000, with 95% confidence {10_000 * accused.low:.1f} to "
        f"{10_000 * accused.high:.1f}; bearable: {most:g}",
    ]
    if not calibration.reached:
        lines.append("no evidence level keeps to what is bearable here; look at the pairs below")
    elif not calibration.proven:
        lines.append(
            f"the sample is too small for this claim: up to {10_000 * accused.high:.1f} in 10,000 cannot be ruled out; "
            f"{calibration.pictures_needed} pictures of which none is accused would be needed"
        )
    for each in calibration.suspicions[:_SUSPICIONS_SHOWN]:
        lines.append(
            f"  would be called copies: {show_path(os.fsencode(each.one))} and {show_path(os.fsencode(each.other))} "
            f"(distance {each.distance:.3f}, evidence {each.evidence:.2f})"
        )
    if len(calibration.suspicions) > _SUSPICIONS_SHOWN:
        lines.append(f"  and {len(calibration.suspicions) - _SUSPICIONS_SHOWN} pairs more")
    if calibration.suspicions:
        lines.append("a pair that truly is a picture and its copy is no mistake: take one of the two away, run again")
    if calibration.left_out:
        lines.append(
            f"{pluralize(calibration.left_out, 'file')} left out: unreadable, uniform, or the bytes of another"
        )
    return lines


@dataclass(frozen=True, slots=True)
class _Judged:
    pixels: NDArray[np.uint8]  # [edits, H, W, 3]
    scores: list[float]


class _Desk:
    """One process's pictures."""

    def __init__(self, paths: tuple[Path, ...], size: tuple[int, int]) -> None:
        self.paths = paths
        self.size = size
        self.view = lru_cache(_KEPT_VIEWS)(lambda row: view_of(paths[row].read_bytes()))


_desks: list[_Desk] = []  # one in each process


def _start(paths: tuple[Path, ...], size: tuple[int, int]) -> None:
    _desks.append(_Desk(paths, size))


def _edited(row: int) -> _Judged | None:
    """None where the picture has gone or changed since it was read."""
    desk = _desks[0]
    try:
        original, copies = desk.view(row), list(edited_bytes(desk.paths[row]))
    except (OSError, UnreadableError):
        return None
    pixels = np.stack([decode_exact(data, desk.size, MAX_MEGAPIXELS).pixels for data in copies])
    return _Judged(pixels, [compare(original, view_of(data)).score for data in copies])


def _compare(pair: tuple[int, int]) -> float:
    try:
        one, other = (_desks[0].view(row) for row in pair)
    except (OSError, UnreadableError):
        return 0.0  # gone or changed since it was read
    return compare(one, other).score


def view_of(data: bytes) -> View:
    """Return a picture as evidence takes it. Raises UnreadableError."""
    return View.of(decode_fit(data, EVIDENCE_SIDE, MAX_MEGAPIXELS).pixels)


def _read(files: Sequence[Path], size: tuple[int, int], progress: Progress) -> tuple[list[Path], NDArray[np.uint8]]:
    """The usable pictures that differ in bytes, and their pixels at the encoder's size."""

    def read(path: Path) -> tuple[str, NDArray[np.uint8]] | None:
        try:
            data = path.read_bytes()
            picture = decode_exact(data, size, MAX_MEGAPIXELS)
        except (OSError, UnreadableError):
            return None
        return None if picture.blank else (hashlib.sha256(data).hexdigest(), picture.pixels)

    seen: set[str] = set()
    paths: list[Path] = []
    rows: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (path, outcome) in enumerate(zip(files, pool.map(read, files), strict=True), 1):
            if outcome is not None and outcome[0] not in seen:
                seen.add(outcome[0])
                paths.append(path)
                rows.append(outcome[1])
            progress("read", done, len(files))
    return paths, np.stack(rows) if rows else np.empty((0, *size[::-1], 3), np.uint8)


def _embed(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([encoder.embed(pixels[start : start + 64]) for start in range(0, len(pixels), 64)])


def _distances(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2 distances [N, M], without the cancellation that squares would bring to the small ones."""
    return np.stack([np.linalg.norm(columns - row, axis=1) for row in rows])


def _nearest(known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distances [N, k] of every picture to its nearest strangers, at most 20, nearest first."""
    return np.stack([distances for _, distances in _neighbours(known)])


def _neighbours(known: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for row, embedding in enumerate(known):
        distances = np.linalg.norm(known - embedding, axis=1)
        distances[row] = np.inf
        order = np.argsort(distances, kind="stable")[: min(MAX_CANDIDATES, len(known) - 1)]
        yield order, distances[order]


def _pairs(known: NDArray[np.float32], radii: NDArray[np.float32]) -> set[tuple[int, int]]:
    """Pairs of rows of which one would be nominated for the other, within its radius, [N]."""
    return {
        (min(row, int(other)), max(row, int(other)))
        for row, (others, distances) in enumerate(_neighbours(known))
        for other in others[distances <= radii[row]]
    }


def _accused(pairs: Sequence[tuple[int, int]], evidence: Sequence[float], level: float) -> int:
    """How many pictures would be accused, each taken as new to a library of the others."""
    return len({row for pair, score in zip(pairs, evidence, strict=True) if score >= level for row in pair})


def _level(pairs: Sequence[tuple[int, int]], evidence: Sequence[float], count: int, bearable: float) -> float:
    """The lowest level at which no more are accused than is bearable, or else the highest."""
    return next((level for level in LEVELS if _accused(pairs, evidence, level) <= bearable * count), LEVELS[-1])
