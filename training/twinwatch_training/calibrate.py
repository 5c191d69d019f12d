"""The nomination radius, chosen on held-out pictures, and the error rates measured within it.

The radius is generous: it should reach nearly every edited copy, since evidence decides afterwards. It is that of a
picture at the usual distance to its centroid. The daemon adds a correction for other pictures, so here the correction
of the picture that is searched for is subtracted from each distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinwatch.errors import ConfigError
from twinwatch.search import MAX_CANDIDATES, Centroids, ErrorRate, radius_correction
from twinwatch_training.model import Embed


@dataclass(frozen=True, slots=True)
class Distances:
    """L2 distances among Q originals and their edited copies, less the radius correction of the first of each pair.

    `copies`: by edit, float32 [Q], each copy to its original. `nearer`: by edit, int64 [Q], how many other originals
    lie nearer to the copy. `non_copies`: float32 [Q], each original to the nearest other one, whose row is in
    `nearest`: int64 [Q]. `to_centroid`: the median distance of an original to its nearest centroid.
    """

    copies: dict[str, NDArray[np.float32]]
    nearer: dict[str, NDArray[np.int64]]
    non_copies: NDArray[np.float32]
    nearest: NDArray[np.int64]
    to_centroid: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The nomination radius (L2), the usual distance to a centroid that it belongs to, and the error rates measured."""

    radius: float
    to_centroid: float
    error_rate: ErrorRate


def measure(
    embed: Embed,
    originals: NDArray[np.uint8],
    edited: dict[str, NDArray[np.uint8]],
    centroids: NDArray[np.float32],
) -> Distances:
    """Embed originals, uint8 [Q, side, side, 3], and their copies by edit, of the same shape, and measure distances.

    `centroids`: float32 [k, 256].
    """
    library = embed(originals)  # [Q, 256]
    clusters = Centroids(centroids)
    to_centroid = clusters.distances(library)  # [Q]
    usual = float(np.median(to_centroid))
    copies: dict[str, NDArray[np.float32]] = {}
    nearer: dict[str, NDArray[np.int64]] = {}
    for name, pixels in edited.items():
        embedded = embed(pixels)  # [Q, 256]
        distances = pairwise(embedded, library)  # [Q, Q]
        own = np.diagonal(distances)  # [Q]
        copies[name] = own - radius_correction(clusters.distances(embedded), usual)
        nearer[name] = (distances < own[:, None]).sum(axis=1)  # [Q]
    among = pairwise(library, library)  # [Q, Q]
    np.fill_diagonal(among, np.inf)
    non_copies = among.min(axis=1) - radius_correction(to_centroid, usual)  # [Q]
    return Distances(copies, nearer, non_copies, among.argmin(axis=1), usual)


def calibrate(distances: Distances, target_recall: float, max_false_nomination_rate: float) -> Calibration:
    """Choose the smallest radius that reaches a share `target_recall` of all edited copies, each edit weighted equally.

    The radius is smaller if a share `max_false_nomination_rate` of new pictures would have a non-copy within it.
    Otherwise an encoder that cannot separate copies from non-copies would nominate everything.

    A copy counts as found when its original lies within the radius and among the nearest MAX_CANDIDATES. Each of the
    Q originals is also taken as new to a library of the others: a false alarm if one of these is within the radius.
    """
    reach = np.quantile(np.concatenate(list(distances.copies.values())), target_recall)
    radius = float(min(reach, np.quantile(distances.non_copies, max_false_nomination_rate)))
    recall = {
        name: float(np.mean((own <= radius) & (distances.nearer[name] < MAX_CANDIDATES)))
        for name, own in distances.copies.items()
    }
    count = len(distances.non_copies)
    error_rate = ErrorRate(
        edit_recall=recall,
        false_alarm_rate=float(np.mean(distances.non_copies <= radius)),
        library_pictures=count,
        query_pictures=count,
    )
    return Calibration(radius, distances.to_centroid, error_rate)


def pairwise(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the L2 distances, float32 [N, M], between float32 [N, D] and [M, D]."""
    # In float64, as float32 would lose the small distances of copies in the difference of large squares.
    a, b = rows.astype(np.float64), columns.astype(np.float64)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T  # [N, M]
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0)).astype(np.float32)
    return distances


def save_distances(distances: Distances, work: Path) -> None:
    """Write the distances to `work`, for the other stages."""
    columns: dict[str, NDArray[Any]] = {"strangers": distances.non_copies, "nearest": distances.nearest}
    columns["to_centroid"] = np.array(distances.to_centroid)
    columns |= {f"copies/{name}": values for name, values in distances.copies.items()}
    columns |= {f"nearer/{name}": values for name, values in distances.nearer.items()}
    np.savez(work / "distances.npz", allow_pickle=False, **columns)


def load_distances(work: Path) -> Distances:
    """Read the distances from `work`. Raises ConfigError when calibration has not run."""
    path = work / "distances.npz"
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `twinwatch-train calibrate --work {work}` first")
    with np.load(path, allow_pickle=False) as stored:
        names = [key.removeprefix("copies/") for key in stored.files if key.startswith("copies/")]
        copies = {name: stored[f"copies/{name}"] for name in names}
        nearer = {name: stored[f"nearer/{name}"] for name in names}
        return Distances(copies, nearer, stored["strangers"], stored["nearest"], float(stored["to_centroid"]))
