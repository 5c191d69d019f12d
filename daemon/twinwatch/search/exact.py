"""Exact L2 search over embeddings: a query returns what brute force would.

A query scores the codes of all members first. A low score proves that a member is outside the radius (`codes.py`). Only
the embeddings of the others, a few, are read and their distances measured.

Each member is in the cluster of its nearest centroid, which says what a picture is like. Clusters skip no member:
within the radius that finds edited copies, a query of a million members reaches 98% of a thousand clusters by the
hyperplane bound between two centroids, and all of them by the triangle inequality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinwatch.search.base import Keys, Match, VectorIndex, Vectors
from twinwatch.search.blocks import Block, Blocks
from twinwatch.search.clusters import Centroids
from twinwatch.search.codes import Quantizer

_MAX_SCORE = 1 << 30  # higher than any score
_FLOAT32_ERROR = 1e-4
"""Slack for float32 rounding, times 1 + radius + the norm of the query."""
_ENCODE_BATCH = 1 << 14  # embeddings
_MEASURE_BATCH = 1 << 9  # embeddings; few enough for the cache
_SAMPLED_SCORES = 1 << 14
_MIN_SIZE_FOR_SAMPLE = 4  # times `most`; a smaller index measures all within the radius
_MAX_GROWTH = 4  # times the size that the clusters were fitted to
_MIN_SIZE_TO_RECLUSTER = 1000  # members
_MAX_ROWS_PER_MEMBER = 2
_SPARE_ROWS = 1 << 12  # that a small index may leave empty


@dataclass(frozen=True, slots=True)
class _Measured:
    """Rows of a block, and the distances of their embeddings from the query."""

    block: Block
    rows: NDArray[np.intp]  # [n]
    distances: Vectors  # [n]

    def matches(self, radius: float) -> Iterator[Match]:
        """Yield the members within `radius`."""
        within = self.distances <= radius
        rows = self.rows[within]
        return map(
            Match, self.block.keys[rows].tolist(), self.distances[within].tolist(), self.block.clusters[rows].tolist()
        )


class ExactIndex(VectorIndex):
    """A `VectorIndex` in memory. Not thread-safe: it belongs to the thread that commits."""

    def __init__(self, centroids: Vectors, sample: Vectors | None = None, clustered_size: int = 0) -> None:
        """Make an empty index with clusters around `centroids`, float32 [k, dim].

        Codes are fitted to `sample`, float32 [n, dim], or else to the centroids. `clustered_size` is the number of
        members that the centroids were fitted to; 0 if they are those of a bundle.
        """
        self._clusters = Centroids(centroids)
        self._quantizer = Quantizer.fit(centroids if sample is None else sample)
        self._blocks = Blocks(centroids.shape[1], self._quantizer.code_size)
        self._max_error = 0.0  # of all members' codes so far
        self._clustered_size = clustered_size

    @classmethod
    def of(
        cls, centroids: Vectors, keys: Keys, embeddings: Vectors, seed: int = 0, clustered_size: int = 0
    ) -> ExactIndex:
        """Build an index of distinct keys, int64 [N], and float32 [N, dim].

        The index shares `embeddings` instead of copying them: do not change them afterwards.
        """
        if not len(keys):
            return cls(centroids, clustered_size=clustered_size)
        sample = np.random.default_rng(seed).choice(len(keys), min(len(keys), _ENCODE_BATCH), replace=False)
        index = cls(centroids, embeddings[np.sort(sample)], clustered_size)
        index._blocks.reserve(int(keys.max()))
        for block in index._blocks.adopt(embeddings):
            while block.free:
                start = block.start + block.used
                index._append(block, keys[start : start + min(block.free, _ENCODE_BATCH)])
        return index

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: int) -> bool:
        return self._blocks.find(key) is not None

    def add(self, key: int, embedding: Vectors) -> int:
        """Add float32 [dim] under `key`, replacing what was there. Return its cluster."""
        self.remove(key)
        block = self._blocks.open_block()
        row = block.used
        block.vectors[row] = embedding
        self._append(block, np.array([key]))
        return int(block.clusters[row])

    def remove(self, key: int) -> None:
        """Remove `key`. Does nothing if it is not a member."""
        self._blocks.delete(key)

    def query(self, embedding: Vectors, radius: float, most: int | None = None) -> list[Match]:
        """Return every member within L2 `radius` of float32 [dim], nearest first; only the first `most`, if given."""
        query = self._quantizer.encode_query(embedding)
        slack = self._max_error + _FLOAT32_ERROR * (1 + radius + float(np.linalg.norm(embedding)))
        scores = [block.scores(query.values) for block in self._blocks]
        measured: list[_Measured] = []
        reach, measured_from = radius, _MAX_SCORE
        if most is not None and 0 < _MIN_SIZE_FOR_SAMPLE * most < len(self):
            # Measure those with the best scores first: the `most`th distance among them bounds that among all.
            measured_from = max(self._sampled_score(scores, most), query.min_score(radius, slack))
            measured = self._measure(embedding, scores, measured_from, _MAX_SCORE)
            near = np.sort(np.concatenate([each.distances for each in measured]))
            if len(near) >= most:
                reach = min(radius, float(near[most - 1]))
        measured += self._measure(embedding, scores, query.min_score(reach, slack), measured_from)
        matches = [match for each in measured for match in each.matches(reach)]
        matches.sort(key=lambda match: (match.distance, match.key))
        return matches if most is None else matches[:most]

    def cluster_of(self, key: int) -> int | None:
        """Return the cluster of `key`, or None if it is not a member."""
        found = self._blocks.find(key)
        if found is None:
            return None
        block, row = found
        return int(block.clusters[row])

    def keys(self) -> Keys:
        """Return all keys, int64 [N], in no order."""
        keys = [block.keys[block.member_rows()] for block in self._blocks]
        return np.concatenate([np.empty(0, np.int64), *keys])

    def vector(self, key: int) -> Vectors:
        """Return the embedding of a member, float32 [dim]. Raises KeyError if `key` is not one."""
        found = self._blocks.find(key)
        if found is None:
            raise KeyError(key)
        block, row = found
        return np.array(block.vectors[row])

    def vectors(self) -> tuple[Keys, Vectors]:
        """Return all keys, int64 [N], and a copy of their embeddings, float32 [N, dim], as they were added."""
        embeddings = np.empty((len(self), self._blocks.dim), np.float32)
        start = 0
        for block in self._blocks:
            rows = block.member_rows()
            embeddings[start : start + len(rows)] = block.vectors[rows]
            start += len(rows)
        return self.keys(), embeddings

    def needs_recluster(self) -> bool:
        """True once the index has grown, or members were deleted, so much that new clusters and codes would pay."""
        if len(self) >= max(_MIN_SIZE_TO_RECLUSTER, _MAX_GROWTH * self._clustered_size):
            return True
        return self._blocks.used > _MAX_ROWS_PER_MEMBER * (len(self) + _SPARE_ROWS)

    def _append(self, block: Block, keys: Keys) -> None:
        """Add members whose embeddings are in the next rows of a block."""
        embeddings = block.vectors[block.used : block.used + len(keys)]  # [n, dim]
        codes = self._quantizer.encode(embeddings)
        self._max_error = max(self._max_error, codes.max_error)
        self._blocks.append(block, keys, codes, self._clusters.nearest(embeddings))

    def _sampled_score(self, scores: list[NDArray[np.int32]], most: int) -> int:
        """Return a score that a few times `most` members reach, estimated from a sample."""
        stride = max(1, self._blocks.used // _SAMPLED_SCORES)
        sample = np.concatenate([each[::stride] for each in scores])
        rank = min(len(sample), 4 + 2 * most // stride)
        return int(np.partition(sample, -rank)[-rank])

    def _measure(self, embedding: Vectors, scores: list[NDArray[np.int32]], start: int, stop: int) -> list[_Measured]:
        """Measure the distances of the members whose scores are in [start, stop)."""
        measured: list[_Measured] = []
        for block, each in zip(self._blocks, scores, strict=True):
            rows = np.flatnonzero(each >= start)
            rows = rows[each[rows] < stop]
            distances = np.empty(len(rows), np.float32)
            for first in range(0, len(rows), _MEASURE_BATCH):
                batch = slice(first, first + _MEASURE_BATCH)
                difference = block.vectors.take(rows[batch], axis=0)  # [n, dim]
                difference -= embedding
                # np.linalg.norm takes four times as long.
                distances[batch] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
            measured.append(_Measured(block, rows, distances))
        return measured
