"""Features of a picture that survive turning, scaling and mirroring: where they are and what they look like. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_MOST = 500
_RATIO = 0.8  # Lowe 2004, section 7.1: drops nine in ten wrong matches and one in twenty right ones


@dataclass(frozen=True, slots=True)
class Features:
    """Points [n, 2] in pixels of the full picture, and SIFT descriptors [n, 128], which are whole numbers to 255."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)

    def rooted(self) -> NDArray[np.float32]:
        """RootSIFT descriptors [n, 128] of length 1.

        Arandjelovic and Zisserman 2012: square roots of L1-normed descriptors match better and cost nothing.
        """
        levels = self.descriptors.astype(np.float32)
        return np.asarray(np.sqrt(levels / np.maximum(levels.sum(axis=1, keepdims=True), 1e-6)), dtype=np.float32)

    def mirrored(self) -> Features:
        """The descriptors that the mirrored picture would have, at the points of this one, without a second search.

        A descriptor is [row, column, direction] in the frame of its own main direction (Lowe 2004, section 6.1); a
        mirror leaves the axis along that direction and turns the other: rows in reverse, directions negated.
        """
        cells = self.descriptors.reshape(-1, 4, 4, 8)  # [n, row, column, direction]
        turned = cells[:, ::-1, :, :][..., (-np.arange(8)) % 8]
        return Features(self.points, np.ascontiguousarray(turned.reshape(-1, 128)))


def find(picture: NDArray[np.uint8], size: tuple[int, int]) -> Features:
    """Find the features of a grey picture [h, w], reduced from `size` (width, height)."""
    # Without the precise upscale, every point lies a quarter of a pixel off, which a mirrored pair doubles.
    search = cv2.SIFT.create(_MOST, nOctaveLayers=2, contrastThreshold=0.02, enable_precise_upscale=True)
    found, descriptors = search.detectAndCompute(picture, None)
    if not found or descriptors is None:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    points = np.array([point.pt for point in found], np.float32) + 0.5  # [n, 2]
    points *= np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]], np.float32)
    return Features(points, np.asarray(descriptors, dtype=np.uint8))


def match(original: Features, copy: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of the original and of the copy [n, 2] whose descriptors are each other's clear nearest."""
    if not len(original) or not len(copy):
        return original.points[:0], copy.points[:0]
    likeness = copy.rooted() @ original.rooted().T  # [copies, originals]; cosine
    rows = np.arange(len(likeness))
    best = likeness.argmax(axis=1)  # [copies]
    mutual = likeness.argmax(axis=0)[best] == rows
    first = likeness[rows, best]
    likeness[rows, best] = -1.0
    second = likeness.max(axis=1)
    clear = np.sqrt(np.maximum(1 - first, 0)) < _RATIO * np.sqrt(np.maximum(1 - second, 0))
    kept = np.flatnonzero(mutual & clear)
    return original.points[best[kept]], copy.points[kept]
