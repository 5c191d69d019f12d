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

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]

_THUMB = 32  # enough to tell the eight orientations apart, small enough to survive any blur
_THUMB_LEVEL = 0.5  # a recompressed, blurred or captioned copy correlates above 0.7 in its true orientation
_THUMB_TRIES = 2  # symmetric things look alike in several orientations; beyond two the features decide
_ASPECT = 2.0  # a whole picture pressed into another shape: at most 2:1, as 4:3 to 9:16 would be
_FEATURES = 500
_RATIO = 0.8  # Lowe 2004, section 7.1: drops nine in ten wrong matches and one in twenty right ones
_MIN_INLIERS = 8  # six numbers fit any three matches; five more agreeing by chance is rare
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


def placements(original: Grey, copy: Grey, feature_side: int) -> Iterator[Placement]:
    """Yield plausible placements of `copy` [h, w] on `original` [H, W]: whole pictures first, then by features.

    Lazy, since a whole-picture placement that proves right saves the search for features, at `feature_side` pixels.
    """
    yield from _whole(original, copy)
    yield from _by_features(original, copy, feature_side)


def shrink(picture: Grey, side: int) -> Grey:
    """Reduce `picture` [h, w] so that its longest side is at most `side`, by area; never enlarge."""
    factor = side / max(picture.shape)
    if factor >= 1:
        return picture
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _whole(original: Grey, copy: Grey) -> Iterator[Placement]:
    """The eight orientations of the whole copy, stretched to the original, that look like it as thumbnails."""
    size, copy_size = (original.shape[1], original.shape[0]), (copy.shape[1], copy.shape[0])
    target = _standard(original)
    thumb = _standard(copy)
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


def _standard(picture: Grey) -> NDArray[np.float32]:
    thumb = cv2.resize(picture, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    thumb -= thumb.mean()
    return np.asarray(thumb / max(float(thumb.std()), 1e-6), dtype=np.float32)


def _by_features(original: Grey, copy: Grey, side: int) -> Iterator[Placement]:
    """SIFT, the ratio test, and an affine map by RANSAC; for the copy as it is and for its mirror image."""
    size, copy_size = (original.shape[1], original.shape[0]), (copy.shape[1], copy.shape[0])
    if min(*size, *copy_size) < _THUMB:
        return
    points, descriptors = _features(shrink(original, side), size)
    copy_points, copy_descriptors = _features(shrink(copy, side), copy_size)
    if min(len(points), len(copy_points)) < _MIN_INLIERS:
        return
    fits: list[tuple[int, Placement]] = []
    reach = _REACH_PX * max(size) / min(side, max(size))
    for described in (copy_descriptors, _mirrored(copy_descriptors)):
        here, there = _matches(points, descriptors, copy_points, described)
        if len(here) < _MIN_INLIERS:
            continue
        # OpenCV seeds this RANSAC itself, with the same number each time.
        affine, inliers = cv2.estimateAffine2D(
            there, here, method=cv2.RANSAC, ransacReprojThreshold=reach, maxIters=2000, confidence=0.995
        )
        if affine is None or int(inliers.sum()) < _MIN_INLIERS:
            continue
        fits.append((int(inliers.sum()), Placement(np.vstack([affine, [0, 0, 1.0]]), size, copy_size)))
    for _, placement in sorted(fits, key=lambda fit: -fit[0]):
        if placement.plausible():
            yield placement


def _features(picture: Grey, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the features are, in pixels of the full `size` [n, 2], and RootSIFT descriptors [n, 128]."""
    # Without the precise upscale, every point lies a quarter of a pixel off, which a mirrored pair doubles.
    search = cv2.SIFT.create(_FEATURES, nOctaveLayers=2, contrastThreshold=0.02, enable_precise_upscale=True)
    found, descriptors = search.detectAndCompute(picture, None)
    if not found or descriptors is None:
        return np.empty((0, 2), np.float32), np.empty((0, 128), np.float32)
    points = np.array([point.pt for point in found], np.float32) + 0.5  # [n, 2]
    points *= np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]], np.float32)
    # Arandjelovic and Zisserman 2012: square roots of L1-normed descriptors match better and cost nothing.
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return points, np.asarray(rooted, dtype=np.float32)


def _mirrored(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The descriptors [n, 128] that the mirrored picture would have, without a second search.

    A descriptor is [row, column, direction] in the frame of its own main direction (Lowe 2004, section 6.1); a mirror
    leaves the axis along that direction and turns the other: rows in reverse, directions negated.
    """
    cells = descriptors.reshape(-1, 4, 4, 8)  # [n, row, column, direction]
    directions = (-np.arange(8)) % 8
    return np.ascontiguousarray(cells[:, ::-1, :, :][..., directions].reshape(-1, 128))


def _matches(
    points: NDArray[np.float32],
    descriptors: NDArray[np.float32],
    copy_points: NDArray[np.float32],
    copy_descriptors: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of the original and of the copy [n, 2] whose descriptors are each other's clear nearest."""
    likeness = copy_descriptors @ descriptors.T  # [copies, originals]; unit norm: cosine
    rows = np.arange(len(likeness))
    best = likeness.argmax(axis=1)  # [copies]
    mutual = likeness.argmax(axis=0)[best] == rows
    first = likeness[rows, best]
    likeness[rows, best] = -1.0
    second = likeness.max(axis=1)
    clear = np.sqrt(np.maximum(1 - first, 0)) < _RATIO * np.sqrt(np.maximum(1 - second, 0))
    kept = np.flatnonzero(mutual & clear)
    return points[best[kept]], copy_points[kept]


def _corners(size: tuple[int, int]) -> Matrix:
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)


def degrees(matrix: Matrix) -> float:
    """How far the placement turns the copy, in -180..180, after a mirror where it has one."""
    mirrored = float(np.linalg.det(matrix[:2, :2])) < 0
    x, y = matrix[0, 0], matrix[1, 0]
    return math.degrees(math.atan2(-y if mirrored else y, -x if mirrored else x))
