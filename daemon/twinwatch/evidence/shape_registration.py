"""Aligns plain things, which have no features: a ball, a shirt on white. Template matching at every size.

The search is slower than by features and tells less, so it proposes one alignment at most.
"""

from __future__ import annotations

import cv2
import numpy as np

from twinwatch.evidence.arrays import Matrix
from twinwatch.evidence.resize import reduced, reduction
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair


def align_by_shape(pair: Pair) -> Alignment | None:
    """Return where the middle of the copy correlates best with a part of the original, in any of eight orientations.

    None where it correlates with none.
    """
    original, copy, levels = pair.original, pair.copy, pair.levels.shape
    grey = original.shrunk(levels.search_side_px).astype(np.float32)
    best: tuple[float, Matrix] = (levels.min_correlation, np.eye(3))
    source, source_factor = copy.shrunk(levels.source_side_px), reduction(copy.size, levels.source_side_px)
    for factor in levels.scales:
        scale = factor * levels.search_side_px / max(copy.size)  # from pixels of the copy to those of `grey`
        small = reduced(source, scale / source_factor).astype(np.float32)
        for turn, mirror in np.ndindex(4, 2):
            view = np.rot90(small[:, ::-1] if mirror else small, turn)
            margin = [round(levels.margin_share * length) for length in view.shape]
            middle = np.ascontiguousarray(view[margin[0] : -margin[0] or None, margin[1] : -margin[1] or None])
            too_large = middle.shape[0] > grey.shape[0] or middle.shape[1] > grey.shape[1]
            if min(middle.shape) < levels.min_template_px or too_large:
                continue
            _, correlation, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(grey, middle, cv2.TM_CCOEFF_NORMED))
            if correlation > best[0]:
                place = np.array([[1, 0, x - margin[1]], [0, 1, y - margin[0]], [0, 0, 1.0]])
                best = correlation, place @ _rotation(small.shape[:2], turn, mirror) @ np.diag([scale, scale, 1.0])
    if best[0] <= levels.min_correlation:
        return None
    back = 1 / reduction(original.size, levels.search_side_px)
    return _refine(pair, Alignment(np.diag([back, back, 1.0]) @ best[1], original.size, copy.size))


def _rotation(size: tuple[int, ...], turn: int, mirror: int) -> Matrix:
    """The matrix [3, 3] from points of a picture [h, w] to where `np.rot90` puts them, after a mirror."""
    height, width = size
    matrix: Matrix = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]]) if mirror else np.eye(3)
    for _ in range(turn):  # a point (x, y) of [h, w] goes to (y, w - x)
        matrix = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1.0]]) @ matrix
        height, width = width, height
    return matrix


def _refine(pair: Pair, alignment: Alignment) -> Alignment:
    """Correct an alignment to a fraction of a pixel (Evangelidis and Psarakis 2008), or return it as it is."""
    levels = pair.levels.shape
    grey, small = pair.original.shrunk(levels.refine_side_px), pair.copy.shrunk(levels.refine_side_px)
    factor, copy_factor = (
        (picture.shape[1] / view.size[0], picture.shape[0] / view.size[1])
        for picture, view in ((grey, pair.original), (small, pair.copy))
    )
    guess = np.linalg.inv(alignment.at_scale(factor, copy_factor))[:2].astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, levels.ecc_iterations, levels.ecc_min_change)
    everywhere = np.full(small.shape, 255, np.uint8)
    try:
        _, found = cv2.findTransformECC(grey, small, guess, cv2.MOTION_AFFINE, criteria, everywhere, levels.ecc_blur_px)
    except cv2.error:  # it did not converge
        return alignment
    upper = np.linalg.inv(np.vstack([np.asarray(found, np.float64), [0, 0, 1.0]]))
    return alignment.with_matrix_at_scale(upper, factor, copy_factor)
