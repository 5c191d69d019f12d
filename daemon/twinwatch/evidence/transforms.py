"""Where one picture may lie upon another. Pure geometry: nothing here decides that it does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_ASPECT = 2.0  # a whole picture pressed into another shape: at most 2:1, as 4:3 to 9:16 would be
_SCALE = (0.3, 3.0)  # edits beyond this keep under a tenth of the picture
_STRETCH = 1.5  # ratio of the two singular values: shear and one-sided stretch
_COVER = (0.1, 0.5)  # at least these shares of the two pictures (less, more covered) lie on one another
_SAME = 0.01  # of the longest side


@dataclass(frozen=True, slots=True)
class Placement:
    """`matrix` [3, 3] takes points of the copy to points of the original; pixel i covers [i, i + 1]."""

    matrix: Matrix
    original_size: tuple[int, int]  # width, height
    copy_size: tuple[int, int]

    def at_scale(self, original: tuple[float, float], copy: tuple[float, float]) -> Matrix:
        """The placement between both pictures resized by factors (x, y), for OpenCV, whose pixel i centres on i."""
        product: Matrix = _reduced(original) @ self.matrix @ _enlarged(copy)
        return product

    def corrected(self, matrix: Matrix, original: tuple[float, float], copy: tuple[float, float]) -> Placement:
        """The placement of which `matrix` is what `at_scale` would give."""
        return replace(self, matrix=_enlarged(original) @ matrix @ _reduced(copy))

    def covered(self) -> tuple[float, float]:
        """Shares of the original and of the copy that lie on one another."""
        points = _corners(self.copy_size) @ self.matrix[:2, :2].T + self.matrix[:2, 2]  # [4, 2]
        area, _ = cv2.intersectConvexConvex(points.astype(np.float32), _corners(self.original_size).astype(np.float32))
        whole = abs(float(np.linalg.det(self.matrix[:2, :2]))) * self.copy_size[0] * self.copy_size[1]
        return area / (self.original_size[0] * self.original_size[1]), area / max(whole, 1e-9)

    def same_as(self, other: Placement) -> bool:
        """True where the two differ by less than a correction on the way makes up for."""
        points = _corners(self.copy_size)  # [4, 2]
        apart = points @ (self.matrix - other.matrix)[:2, :2].T + (self.matrix - other.matrix)[:2, 2]
        return float(np.abs(apart).max()) < _SAME * max(self.original_size)

    def plausible(self, whole: bool = False) -> bool:
        """False for a collapse, a shear or a sliver: what a fit to wrong matches looks like.

        A `whole` picture may be pressed into another shape further than features could be believed.
        """
        if not np.isfinite(self.matrix).all():
            return False
        relative = self.matrix[:2, :2] * (max(self.copy_size) / max(self.original_size))
        large, small = np.linalg.svd(relative, compute_uv=False)
        if not (_SCALE[0] <= small and large <= _SCALE[1] and large <= (_ASPECT if whole else _STRETCH) * small):
            return False
        less, more = sorted(self.covered())
        return less >= _COVER[0] and more >= _COVER[1]


def _reduced(factor: tuple[float, float]) -> Matrix:
    """From points of a picture to centres of pixels of the same resized by `factor` (x, y)."""
    return np.array([[factor[0], 0, -0.5], [0, factor[1], -0.5], [0, 0, 1]])


def _enlarged(factor: tuple[float, float]) -> Matrix:
    """The way back."""
    return np.array([[1 / factor[0], 0, 0.5 / factor[0]], [0, 1 / factor[1], 0.5 / factor[1]], [0, 0, 1]])


def _corners(size: tuple[int, int]) -> Matrix:
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)


def degrees(matrix: Matrix) -> float:
    """How far the placement turns the copy, in -180..180, after a mirror where it has one."""
    mirrored = float(np.linalg.det(matrix[:2, :2])) < 0
    x, y = matrix[0, 0], matrix[1, 0]
    return math.degrees(math.atan2(-y if mirrored else y, -x if mirrored else x))
