"""Where could one picture lie upon another? Candidate placements, most likely first; `verify` judges them.

A placement says where each pixel of the copy would lie on the original. Nothing here decides that it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.features import match
from twinwatch.evidence.view import Pixels, View

Matrix = NDArray[np.float64]

_THUMB = 32  # enough to tell the eight orientations apart, small enough to survive any blur
_THUMB_LEVEL = 0.5  # a recompressed, blurred or captioned copy correlates above 0.7 in its true orientation
_THUMB_TRIES = 2  # symmetric things look alike in several orientations; beyond two the features decide
_ASPECT = 2.0  # a whole picture pressed into another shape: at most 2:1, as 4:3 to 9:16 would be
_MIN_INLIERS = 8  # six numbers fit any three matches; five more agreeing by chance is rare
_COARSE_INLIERS = 5  # strangers have 4 at most, measured on dev
_PLENTY = 20  # so many place a copy well enough to be corrected from there
_REACH_PX = 3.0
_SCALE = (0.3, 3.0)  # edits beyond this keep under a tenth of the picture
_STRETCH = 1.5  # ratio of the two singular values: shear and one-sided stretch
_COVER = (0.1, 0.5)  # at least these shares of the two pictures (less, more covered) lie on one another


@dataclass(frozen=True, slots=True)
class Placement:
    """`matrix` [3, 3] takes points of the copy to points of the original; pixel i covers [i, i + 1]."""

    matrix: Matrix
    original_size: tuple[int, int]  # width, height
    copy_size: tuple[int, int]

    def at_scale(self, original: tuple[float, float], copy: tuple[float, float]) -> Matrix:
        """The placement between both pictures resized by factors (x, y), for OpenCV, whose pixel i centres on i."""
        to_original = np.array([[original[0], 0, -0.5], [0, original[1], -0.5], [0, 0, 1]])
        from_copy = np.array([[1 / copy[0], 0, 0.5 / copy[0]], [0, 1 / copy[1], 0.5 / copy[1]], [0, 0, 1]])
        product: Matrix = to_original @ self.matrix @ from_copy
        return product

    def covered(self) -> tuple[float, float]:
        """Shares of the original and of the copy that lie on one another."""
        corners = _corners(self.copy_size) @ self.matrix[:2, :2].T + self.matrix[:2, 2]  # [4, 2]
        area, _ = cv2.intersectConvexConvex(corners.astype(np.float32), _corners(self.original_size).astype(np.float32))
        whole = abs(float(np.linalg.det(self.matrix[:2, :2]))) * self.copy_size[0] * self.copy_size[1]
        return area / (self.original_size[0] * self.original_size[1]), area / max(whole, 1e-9)

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


def placements(original: View, copy: View, coarse_side: int, side: int) -> Iterator[Placement]:
    """Yield plausible placements of `copy` on `original`: whole pictures first, then by features at `side` pixels.

    Lazy, since a whole-picture placement that proves right saves the search for features. Strangers are told first at
    `coarse_side`, where a search costs little.
    """
    yield from _whole(original, copy)
    yield from (each for each in _by_features(original, copy, coarse_side, side) if each.plausible())


def _whole(original: View, copy: View) -> Iterator[Placement]:
    """The eight orientations of the whole copy, stretched to the original, that look like it as thumbnails."""
    size, copy_size = original.size, copy.size
    target = _standard(original.grey)
    thumb = _standard(copy.grey)
    found: list[tuple[float, int, Matrix]] = []
    for order, (turn, flip_x, flip_y) in enumerate(np.ndindex(2, 2, 2)):
        view = thumb.T if turn else thumb
        view = view[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        likeness = float((target * view).mean())
        unit = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]) if turn else np.eye(3)
        flip = np.array([[1 - 2 * flip_x, 0, flip_x], [0, 1 - 2 * flip_y, flip_y], [0, 0, 1.0]])
        if likeness >= _THUMB_LEVEL:
            matrix = np.diag([*size, 1.0]) @ flip @ unit @ np.diag([1 / copy_size[0], 1 / copy_size[1], 1.0])
            found.append((-likeness, order, matrix))
    for _, _, matrix in sorted(found, key=lambda item: item[:2])[:_THUMB_TRIES]:
        placement = Placement(matrix, size, copy_size)
        if placement.plausible(whole=True):
            yield placement


def _standard(grey: Pixels) -> NDArray[np.float32]:
    thumb = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    thumb -= thumb.mean()
    return np.asarray(thumb / max(float(thumb.std()), 1e-6), dtype=np.float32)


def _by_features(original: View, copy: View, coarse_side: int, side: int) -> Iterator[Placement]:
    if min(*original.size, *copy.size) < _THUMB:
        return
    coarse = _fits(original, copy, coarse_side, _COARSE_INLIERS)
    yield from (placement for inliers, placement in coarse if inliers >= _PLENTY)
    if coarse:
        yield from (placement for _, placement in _fits(original, copy, side, _MIN_INLIERS))


def _fits(original: View, copy: View, side: int, least: int) -> list[tuple[int, Placement]]:
    """Inliers and placement, the better first: an affine map by RANSAC, for the copy as it is and for its mirror image.

    Only those with at least `least` inliers.
    """
    found, copy_found = original.features(side), copy.features(side)
    fits: list[tuple[int, Placement]] = []
    reach = _REACH_PX * max(original.size) / min(side, max(original.size))
    for described in (copy_found, copy_found.mirrored()):
        here, there = match(found, described)
        if len(here) < least:
            continue
        # OpenCV seeds this RANSAC itself, with the same number each time.
        affine, inliers = cv2.estimateAffine2D(
            there, here, method=cv2.RANSAC, ransacReprojThreshold=reach, maxIters=2000, confidence=0.995
        )
        if affine is not None and int(inliers.sum()) >= least:
            matrix = np.vstack([affine, [0, 0, 1.0]])
            fits.append((int(inliers.sum()), Placement(matrix, original.size, copy.size)))
    return sorted(fits, key=lambda fit: -fit[0])


def _corners(size: tuple[int, int]) -> Matrix:
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)


def degrees(matrix: Matrix) -> float:
    """How far the placement turns the copy, in -180..180, after a mirror where it has one."""
    mirrored = float(np.linalg.det(matrix[:2, :2])) < 0
    x, y = matrix[0, 0], matrix[1, 0]
    return math.degrees(math.atan2(-y if mirrored else y, -x if mirrored else x))
