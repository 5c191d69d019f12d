"""Centroids of clusters: the nearest one, its distance, and the correction of the radius that follows from it. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Correction of the radius for each unit of distance to the nearest centroid. A slope of 1 would find few more copies
# among photos, and fewer among documents.
_SLOPE = 0.75
MAX_CORRECTION = 0.15
"""The largest correction, as a share of the usual distance. Painted pictures, far from all centroids, reach 0.08."""


class Centroids:
    """The centroids of k clusters, float32 [k, dim]."""

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        self._centroids = centroids
        self._half_squares = (centroids**2).sum(axis=1) / 2  # [k]

    def nearest(self, embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the cluster of the nearest centroid for each of float32 [N, dim]: int64 [N]."""
        return np.asarray((embeddings @ self._centroids.T - self._half_squares).argmax(axis=1), np.int64)

    def distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the L2 distance of each of float32 [N, dim] to its nearest centroid: float32 [N]."""
        return np.asarray(np.linalg.norm(embeddings - self._centroids[self.nearest(embeddings)], axis=1), np.float32)


def radius_correction(distances: NDArray[np.float32], usual: float) -> NDArray[np.float32]:
    """Return what to add to the usual radius, float32 [N], by the distance to the nearest centroid, float32 [N].

    `usual` is the distance to the nearest centroid for which the correction is zero. In a dense region pictures of
    other things are near, so the radius shrinks; far from all centroids a picture is far from its own copies too, so
    the radius grows. This is score normalisation against a background set, here the centroids (Pizzi et al. 2022, "A
    self-supervised descriptor for image copy detection").
    """
    return np.asarray(np.minimum(_SLOPE * (distances - usual), MAX_CORRECTION * usual), np.float32)
