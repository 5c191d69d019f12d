"""Correlates two aligned pictures window by window, at any size.

Windows are compared by normalized cross-correlation (Lewis 1995), which brightness and contrast do not change, after
the sharper picture was blurred to the sharpness of the other. Pictures too small to compare give an empty result.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.levels import Grid
from twinwatch.evidence.sharpness import Sharpness, blurred, measure_sharpness
from twinwatch.evidence.tone import Tone
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair
from twinwatch.evidence.warp import bar_mask, warp_pair
from twinwatch.evidence.window_stats import window_means, window_moments


@dataclass(frozen=True, slots=True)
class Windows:
    """How an original and the copy warped onto it agree: maps [rows, columns] of overlapping windows."""

    grid: Grid
    alignment: Alignment
    valid: Mask  # the copy covers all of the window, and no bar any of it
    under_bar: Mask
    correlation: Floats  # -1..1, at the best shift
    shift_x: Floats  # the best shift, in pixels of the grid's side
    shift_y: Floats
    mean: Floats
    copy_mean: Floats
    deviation: Floats
    copy_deviation: Floats
    sharpness: Sharpness

    @property
    def textured(self) -> Mask:
        """The valid windows that show something in either picture."""
        return self.valid & (np.maximum(self.deviation, self.copy_deviation) >= self.grid.min_deviation)

    @property
    def textured_in_both(self) -> Mask:
        """The valid windows that show something in both pictures."""
        return self.valid & (np.minimum(self.deviation, self.copy_deviation) >= self.grid.min_deviation)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one alignment showed: how surely it is a copy, 0..1, and in which windows something was laid over."""

    score: float
    windows: Windows
    hidden: Mask  # [rows, columns]
    tone: Tone | None = None  # of a photo


def correlate(alignment: Alignment, pair: Pair, grid: Grid, tone: Tone | None = None) -> Windows:
    """Warp the copy onto the original, bring both to one sharpness, and correlate every window at its best shift.

    With a `tone`, both are first brought to the same levels, so that clipped levels count against neither.
    """
    levels, cell = pair.levels.windows, grid.cell_px
    base, warped, coverage = warp_pair(alignment, pair, grid)  # [h, w] each
    bars = bar_mask(alignment, pair, base, warped) if grid.ignore_bars else np.zeros_like(base)
    if tone is not None:
        base, warped = tone.equalize(base, warped)
    if min(base.shape) < 2 * cell:
        return _no_windows(alignment, grid)
    valid = window_means(coverage, cell) > levels.min_coverage
    under_bar = window_means(bars, cell) > 0
    valid &= ~under_bar
    ours, theirs = window_moments(base, cell), window_moments(warped, cell)
    sharpness = measure_sharpness((base, warped), (ours[1], theirs[1]), valid, grid, levels)
    if sharpness.blur_px or grid.smooth_px:
        base, warped = sharpness.equalize(base, warped)
        if grid.smooth_px:
            base, warped = blurred(base, grid.smooth_px), blurred(warped, grid.smooth_px)
        ours, theirs = window_moments(base, cell), window_moments(warped, cell)
    shifts = _best_shifts(base, warped, (ours, theirs), grid, levels.min_shift_gain)
    (mean, variance), (copy_mean, copy_variance) = ours, theirs
    return Windows(
        grid, alignment, valid, under_bar, *shifts,
        mean, copy_mean, np.sqrt(variance), np.sqrt(copy_variance), sharpness,
    )  # fmt: skip


def _best_shifts(
    base: Floats, warped: Floats, moments: tuple[tuple[Floats, Floats], tuple[Floats, Floats]], grid: Grid, gain: float
) -> tuple[Floats, Floats, Floats]:
    """Best correlation of each window, and the shift in x and in y that gave it: [rows, columns] each.

    `moments` are mean and variance of the windows of `base` and of `warped`; a larger shift has to be better by `gain`.
    """
    (mean, variance), unmoved = moments
    reach, (height, width) = grid.max_shift_px, base.shape
    # Replicated, so that a window at the edge may still agree at a shift.
    padded = np.asarray(cv2.copyMakeBorder(warped, reach, reach, reach, reach, cv2.BORDER_REPLICATE), np.float32)
    correlation = np.full(mean.shape, -1, np.float32)
    shift_x, shift_y = np.zeros_like(mean), np.zeros_like(mean)
    span = range(-reach, reach + 1)
    # Nearest first, so that equal agreement counts as the smaller shift.
    for x, y in sorted(((x, y) for x in span for y in span), key=lambda step: (step[0] ** 2 + step[1] ** 2, step)):
        if x or y:
            moved = np.ascontiguousarray(padded[reach + y : reach + y + height, reach + x : reach + x + width])
            moved_mean, moved_variance = window_moments(moved, grid.cell_px)
        else:
            moved, (moved_mean, moved_variance) = warped, unmoved
        covariance = window_means(base * moved, grid.cell_px) - mean * moved_mean
        now = covariance / np.sqrt(np.maximum(variance * moved_variance, 1.0))
        better = now > correlation + gain
        correlation = np.where(better, now, correlation)
        shift_x, shift_y = np.where(better, np.float32(x), shift_x), np.where(better, np.float32(y), shift_y)
    return correlation, shift_x, shift_y


def _no_windows(alignment: Alignment, grid: Grid) -> Windows:
    zero, nowhere = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_)
    return Windows(grid, alignment, nowhere, nowhere, zero, zero, zero, zero, zero, zero, zero, Sharpness())
