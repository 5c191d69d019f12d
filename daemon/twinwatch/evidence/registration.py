"""Where could one picture lie upon another? Candidate placements, most likely first; `verify` judges them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from twinwatch.evidence.features import match
from twinwatch.evidence.shape_registration import by_shape
from twinwatch.evidence.text import reduction
from twinwatch.evidence.transforms import Matrix, Placement
from twinwatch.evidence.view import THUMB, View

_THUMB_LEVEL = 0.5  # a recompressed, blurred or captioned copy correlates above 0.7 in its true orientation
_THUMB_TRIES = 2  # symmetric things look alike in several orientations; beyond two the features decide
_MIN_INLIERS = 8  # six numbers fit any three matches; five more agreeing by chance is rare
_COARSE_INLIERS = 5  # strangers have 4 at most, measured on dev
_PLENTY = 20  # so many place a copy well enough to be corrected from there
_REACH_PX = 3.0
_PLAIN = 60  # features; with more, those that match would have placed a copy


def placements(original: View, copy: View, coarse_side: int, side: int) -> Iterator[Placement]:
    """Yield plausible placements of `copy` on `original`: whole pictures first, then by features at `side` pixels.

    Lazy, since a whole-picture placement that proves right saves the search for features. Strangers are told first at
    `coarse_side`, where a search costs little.
    """
    tried: list[Placement] = []
    for each in itertools.chain(
        _whole(original, copy),
        (each for each in _by_features(original, copy, coarse_side, side) if each.plausible()),
        (each for each in _plain(original, copy, coarse_side) if each.plausible()),
    ):
        if not any(each.same_as(other) for other in tried):
            tried.append(each)
            yield each


def _whole(original: View, copy: View) -> Iterator[Placement]:
    """The eight orientations of the whole copy, stretched to the original, that look like it as thumbnails."""
    size, copy_size = original.size, copy.size
    target, thumb = original.thumb, copy.thumb
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


def _by_features(original: View, copy: View, coarse_side: int, side: int) -> Iterator[Placement]:
    if min(*original.size, *copy.size) < THUMB:
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
    reach = _REACH_PX / reduction(original.size, side, strips=True)
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


def _plain(original: View, copy: View, side: int) -> Iterator[Placement]:
    """By shape, where one of the two is too plain for features to match."""
    if min(*original.size, *copy.size) < THUMB or min(len(each.features(side)) for each in (original, copy)) > _PLAIN:
        return
    placement = by_shape(original, copy)
    if placement is not None:
        yield placement
