"""Warps the copy onto the original at the size of a grid, and masks bars that hide a part of one of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.arrays import Floats, Mask, Matrix, Pixels
from twinwatch.evidence.levels import Grid, WindowLevels
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair


def warp_pair(alignment: Alignment, pair: Pair, grid: Grid, colour: bool = False) -> tuple[Floats, Floats, Floats]:
    """Return the original at the size of `grid`, the copy warped onto it, and how much of each pixel the copy covers.

    The pictures are [h, w], in colour [h, w, 3], with levels centred to -128..127; the coverage is [h, w], 0..1.
    """
    base = pair.original.shrunk(grid.side_px, grid.widen_strips, colour)
    factor = base.shape[1] / pair.original.size[0], base.shape[0] / pair.original.size[1]
    # Reduced by area to the pixel size of the original first, since the warp itself would skip pixels.
    pixel_size = float(np.sqrt(abs(np.linalg.det(alignment.matrix[:2, :2])))) * factor[0]
    source = pair.copy.reduced(pixel_size, colour)
    copy_factor = source.shape[1] / pair.copy.size[0], source.shape[0] / pair.copy.size[1]
    matrix, size = alignment.at_scale(factor, copy_factor)[:2], (base.shape[1], base.shape[0])
    warped = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    coverage = _coverage(source.shape[:2], matrix, size, pair.levels.windows.edge_tolerance_px)
    return _centred(base), _centred(np.asarray(warped, np.uint8)), coverage


def _centred(plane: Pixels) -> Floats:
    """Levels around zero, where sums of squares in float32 keep their digits."""
    return np.asarray(np.subtract(plane, np.float32(128), dtype=np.float32))


def _coverage(shape: tuple[int, ...], matrix: Matrix, size: tuple[int, int], tolerance_px: float) -> Floats:
    """How much of each pixel of `size` (width, height) is covered by a source [h, w] that `matrix` [2, 3] maps there.

    Returns [height, width], 0..1.
    """
    last = np.array([size[0] - 1, size[1] - 1])
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * last @ back[:, :2].T + back[:, 2]  # [4, 2], in the source
    upper = np.array([shape[1] - 1, shape[0] - 1]) + tolerance_px
    if corners.min() > -tolerance_px and (corners < upper).all():
        return np.ones(size[::-1], np.float32)
    ones = np.ones(shape, np.float32)
    return np.asarray(cv2.warpAffine(ones, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def bar_mask(alignment: Alignment, pair: Pair, base: Floats, warped: Floats) -> Floats:
    """Return 1 where a bar was laid over what the other picture shows, else 0: [h, w].

    A bar of text over a bar of text is no such bar: two lines of text make two pictures.
    """
    levels = pair.levels.windows
    scale, matrix = np.array([base.shape[1], base.shape[0]]) / alignment.original_size, alignment.matrix
    ours = [(_filled(scale * bar.corners, base), bar.written) for bar in pair.original.bars(pair.levels.bars)]
    theirs = [
        (_filled(scale * (bar.corners @ matrix[:2, :2].T + matrix[:2, 2]), base), bar.written)
        for bar in pair.copy.bars(pair.levels.bars)
    ]
    changed = np.abs(base - warped) > levels.bar_min_change
    hidden = np.zeros_like(base)
    for bars, others in ((ours, theirs), (theirs, ours)):
        for bar, written in bars:
            if _hides(bar, written, others, changed, levels):
                hidden[bar] = 1
    width = 2 * levels.bar_bleed_px + 1
    return np.asarray(cv2.dilate(hidden, np.ones((width, width), np.uint8)), np.float32)


def _hides(bar: Mask, written: bool, others: Sequence[tuple[Mask, bool]], changed: Mask, levels: WindowLevels) -> bool:
    """Whether a bar hides what the other picture shows. `others` are the bars of the other picture."""
    rewritten = any(text and bool((bar & other).any()) for other, text in others)
    min_share = levels.written_bar_min_share if written else levels.bare_bar_min_share
    return bool(bar.any() and not rewritten and changed[bar].mean() >= min_share)


def _filled(corners: NDArray[np.float64], like: Floats) -> Mask:
    """The pixels of [h, w] within a quadrangle [4, 2]."""
    drawn = np.zeros(like.shape, np.uint8)
    cv2.fillConvexPoly(drawn, np.rint(corners).astype(np.int32), 1)
    return drawn > 0
