"""Pairs of different pictures that a search would nominate, and the evidence level that keeps them apart.

Each of the N pictures is taken as new to a library of the N - 1 others. Whatever it is then called a copy of is a false
alarm, as the pictures of the folder are supposed to differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.search import MAX_CANDIDATES

LEVELS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The evidence levels to choose from. Below 0.6 different pictures may pass by chance, which a small sample hides."""

Pair = tuple[int, int]
"""The rows of two pictures, the lower one first."""


@dataclass(frozen=True, slots=True)
class SuspectPair:
    """Two different files that the chosen radius and level would call copies. `distance` is L2, `evidence` 0 to 1."""

    one: Path
    other: Path
    distance: float
    evidence: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest other pictures of each, nearest first, at most as many as the daemon asks for evidence.

    `rows`: int64 [N, k]. `distances`: float32 [N, k], L2.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest_neighbours(embeddings: NDArray[np.float32]) -> Neighbours:
    """Find the nearest of float32 [N, 256] by brute force, one picture after the other to bound the memory."""
    count = min(MAX_CANDIDATES, len(embeddings) - 1)
    rows, distances = [], []
    for row, embedding in enumerate(embeddings):
        to_all = np.linalg.norm(embeddings - embedding, axis=1)  # [N]
        to_all[row] = np.inf
        nearest = np.argsort(to_all, kind="stable")[:count]  # [k]
        rows.append(nearest)
        distances.append(to_all[nearest])
    return Neighbours(np.stack(rows), np.stack(distances))


def nominated_pairs(neighbours: Neighbours, radii: NDArray[np.float32]) -> list[Pair]:
    """Return the pairs of which one is nominated for the other: a neighbour within its radius, float32 [N]."""
    return sorted(
        {
            (min(row, int(other)), max(row, int(other)))
            for row, others in enumerate(neighbours.rows)
            for other in others[neighbours.distances[row] <= radii[row]]
        }
    )


def count_false_alarms(pairs: Sequence[Pair], scores: Sequence[float], level: float) -> int:
    """Count the pictures that would be called copies at an evidence level, each taken as new to all others."""
    return len({row for pair, score in zip(pairs, scores, strict=True) if score >= level for row in pair})


def lowest_level(pairs: Sequence[Pair], scores: Sequence[float], max_false_alarms: float) -> float:
    """Return the lowest of LEVELS with at most so many false alarms, or the highest if none has so few."""
    return next((level for level in LEVELS if count_false_alarms(pairs, scores, level) <= max_false_alarms), LEVELS[-1])
