"""Error rates on held-out pictures -> the radius within which the index nominates.

The radius is generous: it has to reach nearly every edited copy, because evidence, not distance, accuses. It is that of
a usual picture: every distance here is less the remoteness of the newcomer it is measured from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinwatch.errors import ConfigError
from twinwatch.search import Centroids, ErrorRate, radius_correction
from twinwatch_training.model import Embed

MAX_CANDIDATES = 20
"""The daemon asks for evidence from this many nearest pictures within the radius."""


@dataclass(frozen=True, slots=True)
class Distances:
    """L2 distances among Q pictures and their edited copies, less the remoteness of what they are measured from.

    `copies`: by edit, float32 [Q], each copy to its original. `nearer`: by edit, int64 [Q], how many strangers lie
    nearer to the copy than its original. `strangers`: float32 [Q], each original to its nearest stranger, whose row is
    in `nearest`: int64 [Q]. `to_centroid`: the median distance of an original to its nearest centroid.
    """

    copies: dict[str, NDArray[np.float32]]
    nearer: dict[str, NDArray[np.int64]]
    strangers: NDArray[np.float32]
    nearest: NDArray[np.int64]
    to_centroid: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The nomination radius (L2) of a picture at the usual distance to a centroid, and the error rates measured."""

    radius: float
    to_centroid: float
    error_rate: ErrorRate


def measure(
    embed: Embed,
    originals: NDArray[np.uint8],
    edited: dict[str, NDArray[np.uint8]],
    centroids: NDArray[np.float32],
) -> Distances:
    """Embed uint8 [Q, side, side, 3] originals and their copies by edit, and measure all against all.

    `centroids`: float32 [k, 256].
    """
    library = embed(originals)  # [Q, 256]
    clusters = Centroids(centroids)
    isolation = clusters.distances(library)  # [Q]
    usual = float(np.median(isolation))
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
    return Distances(
        copies, nearer, among.min(axis=1) - radius_correction(isolation, usual), among.argmin(axis=1), usual
    )


def calibrate(distances: Distances, copies_within: float, strangers_within: float) -> Calibration:
    """Choose the smallest radius that holds the share `copies_within` of all edited copies, every edit weighing alike.

    An encoder that cannot tell copies from strangers would nominate everything, so the radius also stops where a share
    `strangers_within` of new pictures has a stranger within it.

    A copy counts as found when its original lies within the radius and among the nearest 20. Each of the Q pictures is
    also taken as new to a library of the others: a false alarm is a stranger within the radius.
    """
    reach = np.quantile(np.concatenate(list(distances.copies.values())), copies_within)
    radius = float(min(reach, np.quantile(distances.strangers, strangers_within)))
    recall = {
        name: float(np.mean((own <= radius) & (distances.nearer[name] < MAX_CANDIDATES)))
        for name, own in distances.copies.items()
    }
    count = len(distances.strangers)
    error_rate = ErrorRate(
        edit_recall=recall,
        false_alarm_rate=float(np.mean(distances.strangers <= radius)),
        library_pictures=count,
        query_pictures=count,
    )
    return Calibration(radius, distances.to_centroid, error_rate)


def pairwise(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2 distances [N, M] between float32 [N, D] and [M, D]."""
    # In float64: the difference of large squares would drown the small distances of copies.
    a, b = rows.astype(np.float64), columns.astype(np.float64)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T  # [N, M]
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0)).astype(np.float32)
    return distances


def save_distances(distances: Distances, work: Path) -> None:
    """Keep the distances in `work`, for the other steps."""
    columns: dict[str, NDArray[Any]] = {"strangers": distances.strangers, "nearest": distances.nearest}
    columns["to_centroid"] = np.array(distances.to_centroid)
    columns |= {f"copies/{name}": values for name, values in distances.copies.items()}
    columns |= {f"nearer/{name}": values for name, values in distances.nearer.items()}
    np.savez(work / "distances.npz", allow_pickle=False, **columns)


def load_distances(work: Path) -> Distances:
    """Return the distances kept in `work`. Raises ConfigError when calibration has not run."""
    path = work / "distances.npz"
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `twinwatch-train calibrate --work {work}` first")
    with np.load(path, allow_pickle=False) as stored:
        names = [key.removeprefix("copies/") for key in stored.files if key.startswith("copies/")]
        copies = {name: stored[f"copies/{name}"] for name in names}
        nearer = {name: stored[f"nearer/{name}"] for name in names}
        return Distances(copies, nearer, stored["strangers"], stored["nearest"], float(stored["to_centroid"]))
