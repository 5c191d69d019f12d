"""Is a picture a page of text, and how much of a photo is print? Text is compared strictly, photos are not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from twinwatch.evidence.arrays import Pixels
from twinwatch.evidence.levels import PrintLevels, TextLevels
from twinwatch.evidence.resize import reduced, reduction


def is_page(grey: Pixels, small: Pixels, levels: TextLevels) -> bool:
    """Return True where letters stand on one even ground and little else does: a document, not a drawing.

    `grey` [H, W] is the picture, `small` [h, w] the same at 256 pixels.
    """
    coarse = _measure_strokes(small, levels.coarse_stroke_px, levels.coarse_step, levels)
    if coarse.low < levels.min_coarse_low:
        return False
    if max(grey.shape) >= levels.min_fine_side_px and coarse.solid < levels.max_coarse_solid_for_fine:
        width = round(max(grey.shape) / levels.fine_strokes_a_side) | 1
        fine = _measure_strokes(grey, width, levels.fine_step, levels)
        if (
            fine.ground >= levels.min_ground
            and fine.thin >= levels.min_fine_strokes
            and fine.solid < levels.max_fine_solid
            and fine.low >= levels.min_fine_low
        ):
            return True
    # Small or blurred, text is lines and patches, which a wide closing still takes away.
    return (
        coarse.ground >= levels.min_ground
        and coarse.thin >= levels.min_coarse_strokes
        and coarse.solid < levels.max_coarse_solid
    )


def printed_share(grey: Pixels, levels: PrintLevels) -> float:
    """Return the share of small cells of `grey` [H, W] that hold strokes on even paper, 0..1."""
    small = reduced(grey, reduction(grey.shape[:2], levels.side_px))
    cell, reach = levels.cell_px, round(max(small.shape) / levels.strokes_a_side) | 1
    rows, columns = small.shape[0] // cell, small.shape[1] // cell
    if rows == 0 or columns == 0 or max(grey.shape) < levels.min_side_px:
        return 0.0
    share = 0.0
    for light in (small, 255 - small):
        closed = np.asarray(cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)), np.uint8)
        strokes = (cv2.subtract(closed, light) > levels.min_step).astype(np.float32)
        paper = closed.astype(np.float32)
        crop, size = (slice(rows * cell), slice(columns * cell)), (columns, rows)
        mean, power, inked = (
            cv2.resize(np.ascontiguousarray(plane[crop]), size, interpolation=cv2.INTER_AREA)
            for plane in (paper, paper * paper, strokes)
        )  # [rows, columns] each
        even = power - mean * mean < levels.max_paper_variance
        written = (inked > levels.ink_range[0]) & (inked < levels.ink_range[1])
        share = max(share, float((even & written).mean()))
    return share


@dataclass(frozen=True, slots=True)
class _Strokes:
    """Shares of a picture, 0..1: even ground, thin strokes on it, anything wider. `low` is a share of the strokes."""

    ground: float
    thin: float
    solid: float
    low: float


def _measure_strokes(grey: Pixels, width_px: int, step: int, levels: TextLevels) -> _Strokes:
    """Find what is thinner than `width_px` and at least `step` grey levels from the commonest level."""
    counts = np.asarray(cv2.calcHist([grey], [0], None, [256], [0, 256])).ravel() / grey.size  # [256]
    near = np.convolve(counts, np.ones(levels.ground_band), "same")
    level = int(near.argmax())
    light = grey if level >= 128 else 255 - grey
    # A morphological closing of dark strokes on a light ground takes away whatever is thinner than its kernel.
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((width_px, width_px), np.uint8))
    thin = cv2.subtract(closed, light) > step
    solid = float((cv2.absdiff(closed, np.full_like(closed, max(level, 255 - level))) > step).mean())
    _, _, stats, _ = cv2.connectedComponentsWithStats(thin.astype(np.uint8), connectivity=8)
    parts = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= levels.min_speck_px]
    height = parts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].min(axis=1)  # [n]; a line may run either way
    area = parts[:, cv2.CC_STAT_AREA]
    low = float(area[height < levels.max_line_height * max(grey.shape)].sum()) / max(1, int(area.sum()))
    return _Strokes(float(near.max()), float(thin.mean()), solid, low)
