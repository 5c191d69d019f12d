"""Proposes how a copy may be aligned to an original, most likely first. The pixels are compared elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from twinwatch.evidence.arrays import Matrix
from twinwatch.evidence.features import match_features
from twinwatch.evidence.resize import reduction
from twinwatch.evidence.shape_registration import align_by_shape
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import THUMB_SIDE, Pair


def alignments(pair: Pair, coarse_side: int, side: int) -> Iterator[Alignment]:
    """Yield plausible alignments: of the whole pictures first, then by features at `side` pixels, then by shape.

    Lazy, since an alignment of whole pictures that proves right saves the search for features. That search starts at
    `coarse_side`, where it costs little and rules out most different pictures.
    """
    levels = pair.levels.alignment
    tried: list[Alignment] = []
    for each in itertools.chain(
        _align_whole(pair),
        (each for each in _align_by_features(pair, coarse_side, side) if each.is_plausible(levels)),
        (each for each in _align_plain(pair, coarse_side) if each.is_plausible(levels)),
    ):
        if not any(each.is_close_to(other, levels) for other in tried):
            tried.append(each)
            yield each


def _align_whole(pair: Pair) -> Iterator[Alignment]:
    """Those of the eight orientations of the whole copy, stretched to the original, whose thumbnails correlate."""
    levels, size, copy_size = pair.levels.alignment, pair.original.size, pair.copy.size
    target, thumb = pair.original.thumb, pair.copy.thumb
    found: list[tuple[float, int, Matrix]] = []
    for order, (turn, flip_x, flip_y) in enumerate(np.ndindex(2, 2, 2)):
        view = thumb.T if turn else thumb
        view = view[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        correlation = float((target * view).mean())
        transpose = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]) if turn else np.eye(3)
        flip = np.array([[1 - 2 * flip_x, 0, flip_x], [0, 1 - 2 * flip_y, flip_y], [0, 0, 1.0]])
        if correlation >= levels.min_thumb_correlation:
            matrix = np.diag([*size, 1.0]) @ flip @ transpose @ np.diag([1 / copy_size[0], 1 / copy_size[1], 1.0])
            found.append((-correlation, order, matrix))
    for _, _, matrix in sorted(found, key=lambda item: item[:2])[: levels.max_orientations]:
        alignment = Alignment(matrix, size, copy_size)
        if alignment.is_plausible(levels, whole=True):
            yield alignment


def _align_by_features(pair: Pair, coarse_side: int, side: int) -> Iterator[Alignment]:
    levels = pair.levels.alignment
    if min(*pair.original.size, *pair.copy.size) < THUMB_SIDE:
        return
    coarse = _fit_features(pair, coarse_side, levels.min_coarse_inliers)
    yield from (alignment for inliers, alignment in coarse if inliers >= levels.sufficient_coarse_inliers)
    if coarse:
        yield from (alignment for _, alignment in _fit_features(pair, side, levels.min_inliers))


def _fit_features(pair: Pair, side: int, min_inliers: int) -> list[tuple[int, Alignment]]:
    """Affine maps fitted by RANSAC, of the copy and of its mirror image, with their inliers; most inliers first."""
    levels, size = pair.levels, pair.original.size
    found, copy_found = (view.features(side, levels.features) for view in (pair.original, pair.copy))
    fits: list[tuple[int, Alignment]] = []
    threshold = levels.alignment.inlier_distance_px / reduction(size, side, strips=True)
    for described in (copy_found, copy_found.mirrored()):
        here, there = match_features(found, described, levels.features)  # [n, 2] each
        if len(here) < min_inliers:
            continue
        # OpenCV seeds this RANSAC itself, with the same number each time.
        affine, inliers = cv2.estimateAffine2D(
            there,
            here,
            method=cv2.RANSAC,
            ransacReprojThreshold=threshold,
            maxIters=levels.alignment.ransac_iterations,
            confidence=levels.alignment.ransac_confidence,
        )
        if affine is not None and int(inliers.sum()) >= min_inliers:
            matrix = np.vstack([affine, [0, 0, 1.0]])
            fits.append((int(inliers.sum()), Alignment(matrix, size, pair.copy.size)))
    return sorted(fits, key=lambda fit: -fit[0])


def _align_plain(pair: Pair, side: int) -> Iterator[Alignment]:
    """By shape, where one of the two is too plain for features to match."""
    views, levels = (pair.original, pair.copy), pair.levels
    if min(*pair.original.size, *pair.copy.size) < THUMB_SIDE:
        return
    if min(len(view.features(side, levels.features)) for view in views) > levels.alignment.max_plain_features:
        return
    alignment = align_by_shape(pair)
    if alignment is not None:
        yield alignment
