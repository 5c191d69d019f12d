"""KMeans-partitioned exact L2 range search over embeddings.

A query returns what brute force would, across cluster borders too; what is skipped is skipped by a proof. With x the
query, c_i its nearest centroid, y a member of cluster j and r the radius:

- cluster j holds no neighbour if (|x-c_j|^2 - |x-c_i|^2) / (2 |c_i-c_j|) > r: x is farther than r from the border
  between i and j, and every member of j lies on c_j's side of it;
- y is no neighbour if | |y-c_j| - |x-c_j| | > r (triangle inequality);
- after an orthonormal rotation, the distance over the first axes never exceeds the whole one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

PREFIX_AXES = 32
_SLACK = 1e-3
"""Added to the radius, times the query's norm where that exceeds one, before anything is skipped: float32 rounding."""
_BORDER_SLACK = 0.01
"""The same for the border rule, relative to squared norms, as its distances come from differences of large squares."""
_GROWTH = 4  # re-cluster when the library is this many times as large as at the last clustering
_MIN_CLUSTERS = 20


@dataclass(frozen=True, slots=True)
class Match:
    """One neighbour: the key it was added under, its L2 distance and the cluster it lives in."""

    key: int
    distance: float
    cluster: int


class _Cluster:
    """Members of one cluster, in arrays that grow by doubling."""

    def __init__(self, dim: int) -> None:
        self.size = 0
        self.keys = np.empty(4, np.int64)
        self.rings = np.empty(4, np.float32)  # distance of each member to the centroid
        self.prefix = np.empty((4, PREFIX_AXES), np.float32)
        self.rest = np.empty((4, dim - PREFIX_AXES), np.float32)

    def add(self, key: int, vector: Vectors, ring: float) -> None:
        if self.size == len(self.keys):
            capacity = self.size + self.size // 2 + 4
            for name in ("keys", "rings", "prefix", "rest"):
                old = getattr(self, name)
                grown = np.empty((capacity, *old.shape[1:]), old.dtype)
                grown[: self.size] = old
                setattr(self, name, grown)
        self.keys[self.size] = key
        self.rings[self.size] = ring
        self.prefix[self.size] = vector[:PREFIX_AXES]
        self.rest[self.size] = vector[PREFIX_AXES:]
        self.size += 1

    def remove(self, row: int) -> int | None:
        """Drop a row by moving the last one into its place; return the moved key."""
        self.size -= 1
        if row == self.size:
            return None
        for array in (self.keys, self.rings, self.prefix, self.rest):
            array[row] = array[self.size]
        return int(self.keys[row])


class Index:
    """Embeddings by key. Not for several threads at once: the committing thread owns it."""

    def __init__(self, centroids: Vectors, axes: Vectors | None = None) -> None:
        """`centroids` is float32 [k, dim]; `axes` an orthonormal float32 [dim, dim], the identity by default."""
        dim = centroids.shape[1]
        self._axes = np.eye(dim, dtype=np.float32) if axes is None else axes
        self._centroids = centroids @ self._axes  # [k, dim]
        squared = (self._centroids**2).sum(axis=1)  # [k]
        between = squared[:, None] + squared[None, :] - 2 * self._centroids @ self._centroids.T  # [k, k]
        self._between = np.sqrt(np.maximum(between, 0))
        self._largest_square = float(squared.max())
        self._clusters = [_Cluster(dim) for _ in centroids]
        self._places: dict[int, tuple[int, int]] = {}  # key -> (cluster, row)
        self._clustered_size = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: int) -> bool:
        return key in self._places

    def cluster_of(self, key: int) -> int | None:
        """Return the cluster that `key` is in, or None where it is not a member."""
        place = self._places.get(key)
        return None if place is None else place[0]

    def add(self, key: int, embedding: Vectors) -> int:
        """Add float32 [dim] under `key`, replacing what was there; return its cluster."""
        self.remove(key)
        vector = embedding @ self._axes  # [dim]
        to_centroids = np.linalg.norm(self._centroids - vector, axis=1)  # [k]
        nearest = int(to_centroids.argmin())
        cluster = self._clusters[nearest]
        cluster.add(key, vector, float(to_centroids[nearest]))
        self._places[key] = (nearest, cluster.size - 1)
        return nearest

    def remove(self, key: int) -> None:
        """Forget `key`; nothing happens if it is not there."""
        place = self._places.pop(key, None)
        if place is None:
            return
        number, row = place
        moved = self._clusters[number].remove(row)
        if moved is not None:
            self._places[moved] = (number, row)

    def query(self, embedding: Vectors, radius: float, most: int | None = None) -> list[Match]:
        """Return every member within L2 `radius` of float32 [dim], nearest first; only the first `most` if given."""
        vector = embedding @ self._axes  # [dim]
        to_centroids = np.linalg.norm(self._centroids - vector, axis=1)  # [k]
        nearest = int(to_centroids.argmin())
        limit = radius + _SLACK * max(1.0, float(np.linalg.norm(vector)))
        squares = to_centroids**2 - to_centroids[nearest] ** 2  # [k]
        # Written without division: between centroids that differ by a rounding only there is no border to speak of.
        rounding = _BORDER_SLACK * max(1.0, float(vector @ vector), self._largest_square)
        reachable = np.flatnonzero(squares <= 2 * self._between[nearest] * limit + rounding)
        matches: list[Match] = []
        for number in reachable:
            cluster = self._clusters[number]
            matches += _within(cluster, int(number), vector, float(to_centroids[number]), radius, limit)
        matches.sort(key=lambda match: (match.distance, match.key))
        return matches if most is None else matches[:most]

    def outgrown(self) -> bool:
        """True when the library has grown so much that more clusters and fresh axes would pay."""
        return len(self) >= max(1000, _GROWTH * self._clustered_size)

    def keys(self) -> list[int]:
        return list(self._places)

    def vectors(self) -> tuple[NDArray[np.int64], Vectors]:
        """Return all keys [N] and their embeddings [N, dim] as they were added, up to rounding."""
        keys = np.concatenate([cluster.keys[: cluster.size] for cluster in self._clusters])
        rotated = np.concatenate(
            [np.hstack((cluster.prefix[: cluster.size], cluster.rest[: cluster.size])) for cluster in self._clusters]
        )  # [N, dim]
        return keys, np.ascontiguousarray(rotated @ self._axes.T)


def recluster(keys: NDArray[np.int64], embeddings: Vectors, sample: int = 20_000, seed: int = 0) -> Index:
    """Build a new Index for int64 [N] and float32 [N, dim], with about sqrt(N) clusters and the principal axes.

    Fitted on at most `sample` members, so that it takes seconds; it may run beside the thread that owns the old one.
    """
    picked = np.random.default_rng(seed).permutation(len(keys))[:sample]
    fitted = embeddings[picked]  # [n, dim]
    k = max(_MIN_CLUSTERS, round(len(keys) ** 0.5))
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    _, _, centroids = cv2.kmeans(
        fitted, min(k, len(fitted)), np.empty((0, 0), np.int32), stop, 1, cv2.KMEANS_PP_CENTERS
    )
    centred = (fitted - fitted.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)  # columns by growing variance
    index = Index(np.asarray(centroids, np.float32), np.ascontiguousarray(axes[:, ::-1], dtype=np.float32))
    for key, embedding in zip(keys, embeddings, strict=True):
        index.add(int(key), embedding)
    index._clustered_size = len(keys)
    return index


def _within(
    cluster: _Cluster, number: int, vector: Vectors, to_centroid: float, radius: float, limit: float
) -> list[Match]:
    rows = np.flatnonzero(np.abs(cluster.rings[: cluster.size] - to_centroid) <= limit)
    if not len(rows):
        return []
    squared = ((cluster.prefix[rows] - vector[:PREFIX_AXES]) ** 2).sum(axis=1)  # [rows]
    near = squared <= limit**2
    rows, squared = rows[near], squared[near]
    distances = np.sqrt(squared + ((cluster.rest[rows] - vector[PREFIX_AXES:]) ** 2).sum(axis=1))  # [rows]
    return [
        Match(int(cluster.keys[row]), float(distance), number)
        for row, distance in zip(rows, distances, strict=True)
        if distance <= radius
    ]
