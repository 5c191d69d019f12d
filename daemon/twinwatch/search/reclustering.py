"""Makes an index anew with clusters and codes fitted to its members, beside the thread that owns the old one."""

from __future__ import annotations

import cv2
import numpy as np

from twinwatch.search.base import Keys, Vectors
from twinwatch.search.exact import ExactIndex

_MIN_CLUSTERS = 20
_MAX_ITERATIONS, _EPSILON = 20, 1e-3  # k-means stops after so many, or when no centroid moves farther than that in L2


def recluster(keys: Keys, embeddings: Vectors, sample: int = 20_000, seed: int = 0) -> ExactIndex:
    """Build a new index of int64 [N] and float32 [N, dim], with about sqrt(N) clusters.

    Clusters are fitted to `sample` members at most. The index shares `embeddings` instead of copying them, so
    do not change them afterwards.
    """
    picked = np.random.default_rng(seed).permutation(len(keys))[:sample]
    fitted = embeddings[picked]  # [n, dim]
    k = max(_MIN_CLUSTERS, round(len(keys) ** 0.5))
    centroids = fitted if len(fitted) <= k else _k_means(fitted, k, seed)
    return ExactIndex.of(centroids, keys, embeddings, seed, clustered_size=len(keys))


def catch_up(fresh: ExactIndex, old: ExactIndex) -> ExactIndex:
    """Bring `fresh` up to date with `old`, which has changed since `fresh` was begun from it, and return `fresh`.

    A key that is in both has the same embedding in both.
    """
    before, now = fresh.keys(), old.keys()
    for key in np.setdiff1d(before, now).tolist():
        fresh.remove(key)
    for key in np.setdiff1d(now, before).tolist():
        fresh.add(key, old.vector(key))
    return fresh


def _k_means(embeddings: Vectors, k: int, seed: int) -> Vectors:
    """Return the centroids, float32 [k, dim], of more than k embeddings."""
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _MAX_ITERATIONS, _EPSILON)
    _, _, centroids = cv2.kmeans(embeddings, k, np.empty((0, 0), np.int32), stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(centroids, np.float32)
