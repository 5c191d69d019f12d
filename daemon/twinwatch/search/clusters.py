"""The centroids of clusters: which is nearest, how far it lies, and how much farther a picture's copies may. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of the difference in distance to the nearest centroid: with 1 photos would gain little more, and documents lose by it.
_WEIGHT = 0.75
MOST_REMOTE = 0.15
"""Share of the usual distance that may be added to a radius; painted pictures, remote from all, have 0.08."""


class Centroids:
    """Of k clusters, float32 [k, dim]."""

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        self._centroids = centroids
        self._half_squares = (centroids**2).sum(axis=1) / 2  # [k]

    def nearest(self, embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the cluster whose centroid is nearest to each of float32 [N, dim]: int64 [N]."""
        return np.asarray((embeddings @ self._centroids.T - self._half_squares).argmax(axis=1), np.int64)

    def distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the L2 distance of each of float32 [N, dim] to its nearest centroid: float32 [N]."""
        return np.asarray(np.linalg.norm(embeddings - self._centroids[self.nearest(embeddings)], axis=1), np.float32)


def radius_correction(distances: NDArray[np.float32], usual: float) -> NDArray[np.float32]:
    """How much farther than a usual one's a picture's copies may lie, by its distance to the nearest centroid, [N].

    Where pictures lie close together, strangers are near; one that lies far from all is far from its copies too. Among
    descriptors for copy detection this is known as score normalisation against a background (Pizzi et al. 2022, "A
    self-supervised descriptor for image copy detection"); the centroids are that background here.
    """
    return np.asarray(np.minimum(_WEIGHT * (distances - usual), MOST_REMOTE * usual), np.float32)
