"""K-means clusters of the embeddings; the daemon's index starts from their centroids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from twinwatch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters of N embeddings.

    `centroids`: float32 [k, 256]. `labels`: int64 [N], the cluster of each embedding. `inertia`: the mean squared L2
    distance of an embedding to its centroid.
    """

    centroids: NDArray[np.float32]
    labels: NDArray[np.int64]
    inertia: float

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64 [k], how many embeddings lie in each cluster."""
        return np.bincount(self.labels, minlength=len(self.centroids))


def cluster(embeddings: NDArray[np.float32], k: int, seed: int) -> Clusters:
    """Group float32 [N, 256] into `k` clusters, or N if that is fewer. The result follows from `seed`."""
    fitted = KMeans(n_clusters=min(k, len(embeddings)), n_init="auto", random_state=seed).fit(embeddings)
    centroids = np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)  # [k, 256]
    return Clusters(centroids, fitted.labels_.astype(np.int64), float(fitted.inertia_) / len(embeddings))


def save_clusters(clusters: Clusters, work: Path) -> None:
    """Write the clusters to `work`, for the other stages."""
    np.savez(
        work / "clusters.npz",
        centroids=clusters.centroids,
        labels=clusters.labels,
        inertia=np.float64(clusters.inertia),
    )


def load_clusters(work: Path) -> Clusters:
    """Read the clusters from `work`. Raises ConfigError when clustering has not run."""
    path = work / "clusters.npz"
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `twinwatch-train cluster --work {work}` first")
    with np.load(path, allow_pickle=False) as stored:
        return Clusters(stored["centroids"], stored["labels"], float(stored["inertia"]))
