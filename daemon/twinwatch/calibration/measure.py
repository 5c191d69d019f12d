"""Error rates of a bundle on a user's own pictures, and the radius and evidence level that fit them.

Recall: some pictures are edited in every way of `edits`, and each copy should be found. False alarms: each picture is
taken as new to a library of all others, and none should be called a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration.edits import ALL_EDITS
from twinwatch.calibration.pairs import (
    Pair,
    SuspectPair,
    count_false_alarms,
    lowest_level,
    nearest_neighbours,
    nominated_pairs,
)
from twinwatch.calibration.pictures import Progress, read_library
from twinwatch.calibration.rates import Rate, trials_needed
from twinwatch.calibration.worker import WorkerPool, worker_pool
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.search import MAX_CANDIDATES, Bundle, Encoder, ErrorRate, write_bundle

MIN_PICTURES = 20

_TARGET_RECALL = 0.99  # share of all edited copies that the radius has to reach
_MAX_NEAR_RATE = 0.2  # share of new pictures that may have a non-copy within the radius; each costs a pixel comparison
_BATCH = 64  # pictures that the encoder takes at a time


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """What is asked of a calibration.

    `max_false_alarm_rate`: the share of new pictures that may be called copies wrongly, 0 to 1. `limit`: at most so
    many of `files` are read. `sample`: so many of these are edited. Both are drawn by `seed`.
    """

    files: Sequence[Path]
    max_false_alarm_rate: float
    sample: int
    limit: int
    seed: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen radius and evidence level, and the rates measured with them.

    `radius`: L2, of a picture at the usual distance to its centroid. `level`: the evidence score from which a pair
    counts as copies, 0 to 1. `nominated` and `found`: recall by edit, before and after evidence. `left_out`: how many
    files could not be used.
    """

    radius: float
    level: float
    nominated: dict[str, Rate]
    found: dict[str, Rate]
    false_alarms: Rate
    max_false_alarm_rate: float
    suspect_pairs: tuple[SuspectPair, ...]
    left_out: int

    @property
    def limit_kept(self) -> bool:
        """Whether the measured rate of false alarms is within the limit."""
        return self.false_alarms.share <= self.max_false_alarm_rate

    @property
    def limit_proven(self) -> bool:
        """Whether the sample is large enough to claim that with 95% confidence."""
        return self.false_alarms.high <= self.max_false_alarm_rate

    @property
    def pictures_needed(self) -> int:
        """How many pictures without any false alarm would prove the limit."""
        return trials_needed(self.max_false_alarm_rate)


def calibrate(run: CalibrationRun, bundle: Bundle, encoder: Encoder, progress: Progress) -> Calibration:
    """Measure a bundle on a run's pictures and choose the radius and evidence level for them.

    Raises ConfigError for fewer than 20 usable pictures, or if the pictures are removed meanwhile.
    """
    files = [run.files[row] for row in _draw(len(run.files), run.limit, run.seed)]
    library = read_library(files, bundle.input_size, progress)
    paths = library.paths
    if len(paths) < MIN_PICTURES:
        raise ConfigError(
            f"there are {len(paths)} usable pictures that differ; at least {MIN_PICTURES} are needed to measure "
            f"anything, and thousands to tell of rare mistakes"
        )
    embeddings = _embed(encoder, library.pixels)  # [N, 256]
    corrections = bundle.radius_correction(embeddings)  # [N]
    neighbours = nearest_neighbours(embeddings)

    with worker_pool(paths, bundle.input_size) as pool:
        sampled = _draw(len(paths), run.sample, run.seed)
        copies = _measure_copies(pool, sampled, _Model(bundle, encoder, embeddings), progress)
        radius = _choose_radius(copies.distances, neighbours.distances[:, 0] - corrections)
        pairs = nominated_pairs(neighbours, radius + corrections)
        scores = _score(pool, pairs, progress)

    level = lowest_level(pairs, scores, run.max_false_alarm_rate * len(paths))
    nominated = (copies.distances <= radius) & (copies.nearer < MAX_CANDIDATES)  # [sampled, edits]
    suspects = [
        SuspectPair(paths[one], paths[other], float(np.linalg.norm(embeddings[one] - embeddings[other])), score)
        for (one, other), score in zip(pairs, scores, strict=True)
        if score >= level
    ]
    return Calibration(
        radius=radius,
        level=level,
        nominated=_recall(nominated),
        found=_recall(nominated & (copies.scores >= level)),
        false_alarms=Rate(count_false_alarms(pairs, scores, level), len(paths)),
        max_false_alarm_rate=run.max_false_alarm_rate,
        suspect_pairs=tuple(sorted(suspects, key=lambda each: -each.evidence)),
        left_out=len(files) - len(paths),
    )


def write_calibrated(bundle: Bundle, calibration: Calibration, out: Path) -> Bundle:
    """Write a bundle with the same encoder and the chosen radius and level to `out`.

    Embeddings of both bundles stay comparable. Raises TwinwatchError if no level kept to the limit of false alarms.
    """
    if not calibration.limit_kept:
        raise TwinwatchError(f"no bundle is written to {out}, as none would keep to what is bearable: see above")
    manifest = bundle.manifest.model_copy(
        update={
            "nomination_radius": calibration.radius,
            "evidence_level": calibration.level,
            "error_rate": ErrorRate(
                edit_recall={name: rate.share for name, rate in calibration.nominated.items()},
                false_alarm_rate=calibration.false_alarms.share,
                library_pictures=calibration.false_alarms.of,
                query_pictures=calibration.false_alarms.of,
            ),
        }
    )
    return write_bundle(out, bundle.encoder_path.read_bytes(), bundle.centroids, manifest)


@dataclass(frozen=True, slots=True)
class _Model:
    """What embeds a copy, and the library it is searched in: `library`, float32 [N, 256]."""

    bundle: Bundle
    encoder: Encoder
    library: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _CopyMeasures:
    """The edited copies of S pictures against their originals, each array [S, edits].

    `distances`: float32, L2 less the radius correction of the copy. `nearer`: int64, how many other pictures lie nearer
    to the copy than its original. `scores`: float32, evidence.
    """

    distances: NDArray[np.float32]
    nearer: NDArray[np.int64]
    scores: NDArray[np.float32]


def _measure_copies(pool: WorkerPool, rows: list[int], model: _Model, progress: Progress) -> _CopyMeasures:
    """Edit the pictures at `rows` and measure the copies. Raises ConfigError if none of the files is there any more."""
    distances, nearer, scores = [], [], []
    for done, (row, copies) in enumerate(zip(rows, pool.edit(rows), strict=True), 1):
        progress("edit pictures", done, len(rows))
        if copies is None:
            continue
        embeddings = _embed(model.encoder, copies.pixels)  # [edits, 256]
        to_all = np.stack([np.linalg.norm(model.library - each, axis=1) for each in embeddings])  # [edits, N]
        to_original = to_all[:, row]  # [edits]
        distances.append(to_original - model.bundle.radius_correction(embeddings))
        nearer.append((to_all < to_original[:, None]).sum(axis=1))
        scores.append(copies.scores)
    if not distances:
        raise ConfigError("the pictures went away while they were looked at; bring them back, run again")
    return _CopyMeasures(np.array(distances, np.float32), np.array(nearer, np.int64), np.array(scores, np.float32))


def _choose_radius(copies: NDArray[np.float32], nearest: NDArray[np.float32]) -> float:
    """Return the radius that reaches nearly all copies, or less where too many new pictures have a non-copy within it.

    `copies`: distances to their originals, of any shape. `nearest`: float32 [N], each picture's to its nearest other.
    """
    return min(float(np.quantile(copies, _TARGET_RECALL)), float(np.quantile(nearest, _MAX_NEAR_RATE)))


def _score(pool: WorkerPool, pairs: Sequence[Pair], progress: Progress) -> list[float]:
    scores: list[float] = []
    for score in pool.compare(pairs):
        scores.append(score)
        progress("compare strangers", len(scores), len(pairs))
    return scores


def _recall(hits: NDArray[np.bool_]) -> dict[str, Rate]:
    """bool [S, edits] -> the share of hits by edit."""
    return {name: Rate(int(hits[:, column].sum()), len(hits)) for column, name in enumerate(ALL_EDITS)}


def _draw(count: int, most: int, seed: int) -> list[int]:
    """Return at most `most` of `count` rows, drawn by `seed`, in rising order."""
    drawn: list[int] = np.sort(np.random.default_rng(seed).permutation(count)[:most]).tolist()
    return drawn


def _embed(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, height, width, 3] -> float32 [N, 256]."""
    return np.concatenate([encoder.embed(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)])
