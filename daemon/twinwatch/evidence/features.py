"""SIFT features of a picture, which survive rotation, scaling and mirroring: their points and their descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.arrays import Pixels
from twinwatch.evidence.levels import FeatureLevels


@dataclass(frozen=True, slots=True)
class Features:
    """Points [n, 2] in pixels of the full picture, and SIFT descriptors [n, 128], which are whole numbers to 255."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)

    def rooted(self) -> NDArray[np.float32]:
        """Return RootSIFT descriptors [n, 128] of length 1.

        Arandjelovic and Zisserman 2012: square roots of L1-normed descriptors match better and cost nothing.
        """
        counts = self.descriptors.astype(np.float32)
        return np.asarray(np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-6)), dtype=np.float32)

    def mirrored(self) -> Features:
        """Return the descriptors that the mirrored picture would have, at the points of this one.

        A descriptor is [row, column, direction] in the frame of its own main direction (Lowe 2004, section 6.1). A
        mirror keeps the axis along that direction and reverses the other: rows in reverse order, directions negated.
        """
        cells = self.descriptors.reshape(-1, 4, 4, 8)  # [n, row, column, direction]
        turned = cells[:, ::-1, :, :][..., (-np.arange(8)) % 8]
        return Features(self.points, np.ascontiguousarray(turned.reshape(-1, 128)))


def find_features(picture: Pixels, size: tuple[int, int], levels: FeatureLevels) -> Features:
    """Find the features of a grey picture [h, w], which was reduced from `size` (width, height)."""
    # Without the precise upscale every point lies a quarter of a pixel off, and a mirrored pair half a pixel.
    search = cv2.SIFT.create(
        levels.max_count,
        nOctaveLayers=levels.octave_layers,
        contrastThreshold=levels.min_contrast,
        enable_precise_upscale=True,
    )
    found, descriptors = search.detectAndCompute(picture, None)
    if not found or descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    points = np.array([point.pt for point in found], np.float32) + 0.5  # [n, 2]
    points *= np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]], np.float32)
    return Features(points, np.asarray(descriptors, dtype=np.uint8))


def match_features(
    original: Features, copy: Features, levels: FeatureLevels
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return matching points of the original and of the copy, [n, 2] each.

    Two features match if each is the nearest to the other, and clearly nearer than the second nearest.
    """
    if not len(original) or not len(copy):
        return original.points[:0], copy.points[:0]
    cosine = copy.rooted() @ original.rooted().T  # [copies, originals]
    rows = np.arange(len(cosine))
    nearest = cosine.argmax(axis=1)  # [copies]
    mutual = cosine.argmax(axis=0)[nearest] == rows
    first = cosine[rows, nearest]
    cosine[rows, nearest] = -1.0
    second = cosine.max(axis=1)
    # The distance of unit vectors is sqrt(2 - 2 cosine).
    clear = np.sqrt(np.maximum(1 - first, 0)) < levels.max_distance_ratio * np.sqrt(np.maximum(1 - second, 0))
    kept = np.flatnonzero(mutual & clear)
    return original.points[nearest[kept]], copy.points[kept]
