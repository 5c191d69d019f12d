"""Affine alignments of one picture to another. Geometry only: nothing here looks at pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from twinwatch.evidence.arrays import Matrix
from twinwatch.evidence.levels import AlignmentLevels


@dataclass(frozen=True, slots=True)
class Alignment:
    """`matrix` [3, 3] maps points of the copy to points of the original; pixel i covers [i, i + 1]."""

    matrix: Matrix
    original_size: tuple[int, int]  # width, height
    copy_size: tuple[int, int]

    def at_scale(self, original: tuple[float, float], copy: tuple[float, float]) -> Matrix:
        """Return the matrix [3, 3] between the pictures resized by factors (x, y), for OpenCV.

        OpenCV puts the centre of pixel i at i, not at i + 0.5.
        """
        product: Matrix = _to_resized(original) @ self.matrix @ _from_resized(copy)
        return product

    def with_matrix_at_scale(
        self, matrix: Matrix, original: tuple[float, float], copy: tuple[float, float]
    ) -> Alignment:
        """Return the alignment for which `at_scale` would give `matrix`."""
        return replace(self, matrix=_from_resized(original) @ matrix @ _to_resized(copy))

    def overlaps(self) -> tuple[float, float]:
        """Return the shares of the original and of the copy that lie on each other, 0..1."""
        points = _corners(self.copy_size) @ self.matrix[:2, :2].T + self.matrix[:2, 2]  # [4, 2]
        area, _ = cv2.intersectConvexConvex(points.astype(np.float32), _corners(self.original_size).astype(np.float32))
        whole = abs(float(np.linalg.det(self.matrix[:2, :2]))) * self.copy_size[0] * self.copy_size[1]
        return area / (self.original_size[0] * self.original_size[1]), area / max(whole, 1e-9)

    def is_close_to(self, other: Alignment, levels: AlignmentLevels) -> bool:
        """Return True where correcting either alignment by the windows would give the same."""
        points = _corners(self.copy_size)  # [4, 2]
        apart = points @ (self.matrix - other.matrix)[:2, :2].T + (self.matrix - other.matrix)[:2, 2]
        return float(np.abs(apart).max()) < levels.same_distance * max(self.original_size)

    def is_plausible(self, levels: AlignmentLevels, whole: bool = False) -> bool:
        """Return False for a collapse, a shear or a sliver: what a fit to wrong matches looks like.

        A `whole` picture, aligned edge to edge, may change its aspect by more than features could be believed.
        """
        if not np.isfinite(self.matrix).all():
            return False
        relative = self.matrix[:2, :2] * (max(self.copy_size) / max(self.original_size))
        large, small = np.linalg.svd(relative, compute_uv=False)
        max_stretch = levels.max_whole_aspect_change if whole else levels.max_stretch
        least, most = levels.scale_range
        if not (least <= small and large <= most and large <= max_stretch * small):
            return False
        less, more = sorted(self.overlaps())
        return less >= levels.min_overlaps[0] and more >= levels.min_overlaps[1]

    def degrees(self) -> float:
        """Return how far the copy is rotated, in -180..180, after the mirror where there is one."""
        mirrored = self.is_mirrored()
        x, y = self.matrix[0, 0], self.matrix[1, 0]
        return math.degrees(math.atan2(-y if mirrored else y, -x if mirrored else x))

    def is_mirrored(self) -> bool:
        """Return True if the copy is a mirror image."""
        return float(np.linalg.det(self.matrix[:2, :2])) < 0


def _to_resized(factor: tuple[float, float]) -> Matrix:
    """From points of a picture to the centres of pixels of the same picture resized by `factor` (x, y)."""
    return np.array([[factor[0], 0, -0.5], [0, factor[1], -0.5], [0, 0, 1]])


def _from_resized(factor: tuple[float, float]) -> Matrix:
    """The inverse of `_to_resized`."""
    return np.array([[1 / factor[0], 0, 0.5 / factor[0]], [0, 1 / factor[1], 0.5 / factor[1]], [0, 0, 1]])


def _corners(size: tuple[int, int]) -> Matrix:
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)  # [4, 2]
