"""Where does a plain thing lie, one without features: a ball, a shirt on white? By its shape, looked for at every size.

A slower search than by features, and one that tells less: it names one placement at most.
"""

from __future__ import annotations

import cv2
import numpy as np

from twinwatch.evidence.text import reduced, reduction
from twinwatch.evidence.transforms import Matrix, Placement
from twinwatch.evidence.view import View

_COARSE, _CLOSE = 64, 128  # pixels at which the thing is looked for, and at which its place is corrected
_FROM = 256  # pixels from which the copy is brought to each size; from all it has, that would take most of the time
_MARGIN, _LEAST = 0.2, 10  # share of each side that may lie outside the original; pixels that must be left
_FACTORS = tuple(0.36 * 1.08**step for step in range(20))  # of the copy's size against the original's: to 1.55
_LIKENESS = 0.85  # correlation from which a place is worth a look
_ECC_STEPS, _ECC_CHANGE, _ECC_BLUR = 40, 1e-4, 5


def by_shape(original: View, copy: View) -> Placement | None:
    """Return where the middle of the copy looks most like a part of the original, in any of eight orientations.

    None where it looks like none.
    """
    grey = original.shrunk(_COARSE).astype(np.float32)
    best: tuple[float, Matrix] = (_LIKENESS, np.eye(3))
    from_, ready = copy.shrunk(_FROM), reduction(copy.size, _FROM)
    for factor in _FACTORS:
        scale = factor * _COARSE / max(copy.size)  # from pixels of the copy to those of `grey`
        small = reduced(from_, scale / ready).astype(np.float32)
        for turn, mirror in np.ndindex(4, 2):
            view = np.rot90(small[:, ::-1] if mirror else small, turn)
            margin = [round(_MARGIN * length) for length in view.shape]
            middle = np.ascontiguousarray(view[margin[0] : -margin[0] or None, margin[1] : -margin[1] or None])
            if min(middle.shape) < _LEAST or middle.shape[0] > grey.shape[0] or middle.shape[1] > grey.shape[1]:
                continue
            likeness = cv2.matchTemplate(grey, middle, cv2.TM_CCOEFF_NORMED)
            _, level, _, (x, y) = cv2.minMaxLoc(likeness)
            if level > best[0]:
                place = np.array([[1, 0, x - margin[1]], [0, 1, y - margin[0]], [0, 0, 1.0]])
                best = level, place @ _turned(small.shape[:2], turn, mirror) @ np.diag([scale, scale, 1.0])
    if best[0] <= _LIKENESS:
        return None
    back = 1 / reduction(original.size, _COARSE)
    return _closer(original, copy, Placement(np.diag([back, back, 1.0]) @ best[1], original.size, copy.size))


def _turned(size: tuple[int, ...], turn: int, mirror: int) -> Matrix:
    """Takes points of a picture [h, w] to where `np.rot90` puts them, after a mirror."""
    height, width = size
    matrix: Matrix = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]]) if mirror else np.eye(3)
    for _ in range(turn):  # a point (x, y) of [h, w] goes to (y, w - x)
        matrix = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1.0]]) @ matrix
        height, width = width, height
    return matrix


def _closer(original: View, copy: View, placement: Placement) -> Placement:
    """Correct a placement to a fraction of a pixel (Evangelidis and Psarakis 2008), or return it as it is."""
    grey, small = original.shrunk(_CLOSE), copy.shrunk(_CLOSE)
    factor, copy_factor = (
        (picture.shape[1] / view.size[0], picture.shape[0] / view.size[1])
        for picture, view in ((grey, original), (small, copy))
    )
    guess = np.linalg.inv(placement.at_scale(factor, copy_factor))[:2].astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ECC_STEPS, _ECC_CHANGE)
    everywhere = np.full(small.shape, 255, np.uint8)
    try:
        _, found = cv2.findTransformECC(grey, small, guess, cv2.MOTION_AFFINE, criteria, everywhere, _ECC_BLUR)
    except cv2.error:  # it did not converge
        return placement
    upper = np.linalg.inv(np.vstack([np.asarray(found, np.float64), [0, 0, 1.0]]))
    return placement.corrected(upper, factor, copy_factor)
