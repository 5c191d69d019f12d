"""Do aligned pictures show the same thing in the same colours?

An editor changes the colours of a whole picture by one rule; the same product in another colour is another product.
So one rule is fitted that maps the colours of the one picture to those of the other, and its residual decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.colour_rule import LUMA, ColourRule, fit_colour_rule
from twinwatch.evidence.levels import ColourLevels
from twinwatch.evidence.view import Pair
from twinwatch.evidence.warp import warp_pair
from twinwatch.evidence.window_stats import channel_max, connected_windows, window_means
from twinwatch.evidence.windows import Finding, Windows

_CHROMA = np.array([[0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]], np.float32)  # Cr and Cb of ITU-R BT.601


@dataclass(frozen=True, slots=True)
class AlignedColours:
    """Original and warped copy, equally sharp, [h, w, 3] in 0..255, and the rule that equalizes their colours."""

    base: Floats
    warped: Floats
    rule: ColourRule | None

    def residual(self) -> Floats:
        """Return what the rule leaves of the difference: [h, w, 3], signed levels."""
        base, warped = (self.base, self.warped) if self.rule is None else self.rule.equalize(self.base, self.warped)
        return base - warped


@dataclass(frozen=True, slots=True)
class Colours:
    """Mean chroma of the original and of the copy, and how the colours changed."""

    original: float
    copy: float
    different: bool = False  # the copy shows another thing
    cast: bool = False  # the rule treats the channels unevenly
    greyed: bool = False  # the copy alone is grey


def warp_colours(windows: Windows, pair: Pair) -> AlignedColours:
    """Warp the copy onto the original in colour, and fit the rule that the windows which agree have in common."""
    levels = pair.levels.colours
    base, warped, _ = warp_pair(windows.alignment, pair, windows.grid, colour=True)  # [h, w, 3] each
    base, warped = windows.sharpness.equalize(base + 128, warped + 128)
    agree = windows.textured_in_both & (windows.correlation >= levels.min_correlation)
    if int(agree.sum()) < levels.min_windows:
        agree = _same_shape(windows, levels)
    height, width = base.shape[:2]
    seen = cv2.resize(agree.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).ravel() > 0  # [h * w]
    clipped = np.maximum(np.abs(base - 127.5), np.abs(warped - 127.5)) > 127.5 - levels.clip_margin  # [h, w, 3]
    clear = cv2.dilate(clipped.astype(np.uint8), np.ones((5, 5), np.uint8)).reshape(-1, 3) == 0  # [h * w, 3]
    unclipped = clear[:, 0] & clear[:, 1] & clear[:, 2]
    picked = np.concatenate([_sample(np.flatnonzero(rows), levels) for rows in (seen & unclipped, seen & ~unclipped)])
    smooth = _smoothed(base, levels)[picked], _smoothed(warped, levels)[picked]  # [n, 3] each
    sharp = base.reshape(-1, 3)[picked], warped.reshape(-1, 3)[picked]
    return AlignedColours(base, warped, fit_colour_rule(smooth, sharp, clear[picked], levels.rule))


def compare_colours(finding: Finding, pair: Pair) -> Colours:
    """Compare the colours of the windows that agree and that nothing was laid over."""
    windows, levels = finding.windows, pair.levels.colours
    aligned = warp_colours(windows, pair)
    seen = _same_shape(windows, levels) & ~finding.hidden
    if not seen.any():
        return Colours(0.0, 0.0)
    cell = windows.grid.cell_px
    chroma, copy_chroma = (
        float(np.linalg.norm(window_means(plane, cell)[seen] @ _CHROMA.T, axis=1).mean())
        for plane in (aligned.base, aligned.warped)
    )
    residual = window_means(aligned.residual(), cell)  # [rows, columns, 3]
    luma_differs = np.abs(residual @ LUMA) > levels.max_luma_residual  # [rows, columns]
    differs = luma_differs | (channel_max(np.abs(residual)) > levels.max_channel_residual)
    rule = aligned.rule
    return Colours(
        chroma,
        copy_chroma,
        different=bool(connected_windows(differs & seen, levels.min_different_windows).any()),
        cast=rule is not None and float(rule.gains.max()) > levels.min_cast_ratio * float(rule.gains.min()),
        greyed=chroma >= levels.min_colour_chroma and copy_chroma < levels.max_grey_chroma,
    )


def _same_shape(windows: Windows, levels: ColourLevels) -> Mask:
    """Windows [rows, columns] that show the same, even if that is nothing."""
    return windows.valid & (~windows.textured | (windows.correlation >= levels.min_correlation))


def _smoothed(plane: Floats, levels: ColourLevels) -> Floats:
    """Blur against noise: [h, w, 3] -> [h * w, 3]."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), levels.smooth_px), np.float32).reshape(-1, 3)


def _sample(rows: NDArray[np.int64], levels: ColourLevels) -> NDArray[np.int64]:
    return rows[:: max(1, len(rows) // levels.max_samples)]
