"""The contract of a vector index, and the types that its callers share with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Keys = NDArray[np.int64]

MAX_CANDIDATES = 20
"""Evidence is sought for this many of the nearest neighbours at most."""


@dataclass(frozen=True, slots=True)
class Match:
    """One neighbour: the key it was added under, its L2 distance from the query, and its cluster."""

    key: int
    distance: float
    cluster: int


class VectorIndex(Protocol):
    """Embeddings by key, searched exactly. Keys are whole numbers from 0, such as the ids of rows.

    An index belongs to one thread. Every implementation passes the same tests.
    """

    def __len__(self) -> int:
        """Return the number of members."""
        ...

    def __contains__(self, key: int) -> bool:
        """True if `key` is a member."""
        ...

    def add(self, key: int, embedding: Vectors) -> int:
        """Add float32 [dim] under `key`, replacing what was there. Return its cluster."""
        ...

    def remove(self, key: int) -> None:
        """Remove `key`. Does nothing if it is not a member."""
        ...

    def query(self, embedding: Vectors, radius: float, most: int | None = None) -> list[Match]:
        """Return every member within L2 `radius` of float32 [dim], nearest first, equal distances by key.

        With `most`, only the first `most` of these.
        """
        ...

    def cluster_of(self, key: int) -> int | None:
        """Return the cluster of `key`, or None if it is not a member."""
        ...
