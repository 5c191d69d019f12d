"""What the windows that agree have in common: a better alignment, and one change of brightness and contrast."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats
from twinwatch.evidence.levels import Levels, WindowLevels
from twinwatch.evidence.resize import reduction
from twinwatch.evidence.tone import Tone
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.windows import Windows


def fit_tone(windows: Windows, base: Floats, warped: Floats, levels: WindowLevels) -> Tone | None:
    """Fit one tone to the windows that agree, by least squares. None where too few do.

    `base` and `warped` [h, w] are what `warp_pair` returned for these windows.
    """
    height, width = base.shape
    agree = (windows.textured_in_both & (windows.correlation >= levels.min_tone_correlation)).astype(np.uint8)
    seen = cv2.resize(agree, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    seen &= np.maximum(np.abs(base), np.abs(warped)) < levels.max_unclipped_level
    ours, theirs = base[seen] + 128, warped[seen] + 128  # [n]
    if len(ours) < levels.min_windows * windows.grid.cell_px**2:
        return None
    gain = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean()) / max(float(ours.var()), 1e-6)
    return Tone(gain, float(theirs.mean() - gain * ours.mean())) if gain > 0 else None


def refine_alignment(windows: Windows, levels: Levels) -> Alignment | None:
    """Correct the alignment by an affine map fitted to the best shifts of the windows that agree.

    None where too few agree, or the result is not plausible.
    """
    agree = windows.textured_in_both & (windows.correlation >= levels.windows.min_shift_correlation)
    if int(agree.sum()) < levels.windows.min_windows:
        return None
    grid, alignment = windows.grid, windows.alignment
    rows, columns = np.nonzero(agree)
    here = (np.stack([columns, rows], axis=1) + 1.0) * grid.cell_px  # [n, 2], centres of windows
    there = here + np.stack([windows.shift_x[agree], windows.shift_y[agree]], axis=1)
    # OpenCV seeds this RANSAC itself, with the same number each time.
    affine, _ = cv2.estimateAffine2D(
        there.astype(np.float32),
        here.astype(np.float32),
        method=cv2.RANSAC,
        ransacReprojThreshold=levels.windows.shift_inlier_px,
    )
    if affine is None:
        return None
    scale = np.diag([1 / reduction(alignment.original_size, grid.side_px, grid.widen_strips)] * 2 + [1.0])
    step = np.vstack([affine, [0, 0, 1.0]])
    corrected = replace(alignment, matrix=scale @ step @ np.linalg.inv(scale) @ alignment.matrix)
    return corrected if corrected.is_plausible(levels.alignment, whole=True) else None
