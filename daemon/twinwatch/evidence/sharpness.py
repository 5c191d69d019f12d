"""Measures which of two aligned pictures is sharper, and the Gaussian blur that makes the two equally sharp."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.levels import Grid, WindowLevels
from twinwatch.evidence.window_stats import window_means, window_moments


@dataclass(frozen=True, slots=True)
class Sharpness:
    """How sharp a copy is against its original, and what makes up the difference."""

    ratio: float = 1.0  # sharpness of the copy divided by that of the original
    crispness: float = 0.0  # of the blurrier picture: gradient for each grey level of deviation, in its crisper windows
    matched: bool = True  # `blur_px` made up the difference
    blur_px: float = 0.0  # sigma; blurs the original where positive, the copy where negative

    def equalize(self, base: Floats, warped: Floats) -> tuple[Floats, Floats]:
        """Blur the sharper of the two pictures, [h, w] or [h, w, 3]."""
        return equalize_sharpness(base, warped, self.blur_px)


def equalize_sharpness(base: Floats, warped: Floats, blur_px: float) -> tuple[Floats, Floats]:
    """Blur one of two pictures, [h, w] or [h, w, 3]: the original where `blur_px` is positive, else the copy."""
    return (blurred(base, blur_px) if blur_px > 0 else base), (blurred(warped, -blur_px) if blur_px < 0 else warped)


def measure_sharpness(
    planes: tuple[Floats, Floats], variances: tuple[Floats, Floats], valid: Mask, grid: Grid, levels: WindowLevels
) -> Sharpness:
    """Compare the sharpness of an original and a copy, [h, w] each, in their textured windows.

    `variances` and `valid` are of the windows, [rows, columns].
    """
    (base, warped), (variance, copy_variance) = planes, variances
    seen = valid & (np.minimum(variance, copy_variance) >= grid.min_deviation**2)
    if int(seen.sum()) < levels.min_windows:
        return Sharpness()
    ours = _relative_gradient(base, variance, grid.cell_px)  # [rows, columns]
    theirs = _relative_gradient(warped, copy_variance, grid.cell_px)
    # The median window: a caption or a logo says nothing about the picture below it.
    ratio = float(np.median(theirs[seen] / ours[seen]))
    crispness = float(min(np.quantile(gradient[seen], levels.crisp_quantile) for gradient in (ours, theirs)))
    sharper, target = (base, theirs) if ratio < 1 else (warped, ours)
    excess, blur_px = max(ratio, 1 / ratio), 0.0
    for sigma in levels.blur_sigmas_px[: grid.max_blurs]:
        if excess <= levels.max_sharpness_ratio:
            break
        blur_px = sigma
        plane = blurred(sharper, sigma)
        now = _relative_gradient(plane, window_moments(plane, grid.cell_px)[1], grid.cell_px)
        excess = float(np.median(now[seen] / target[seen]))
    return Sharpness(ratio, crispness, excess <= levels.max_sharpness_ratio, blur_px if ratio < 1 else -blur_px)


def blurred(plane: Floats, sigma_px: float) -> Floats:
    """Blur [h, w] or [h, w, 3], with the edge replicated, as editors do it."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def _relative_gradient(plane: Floats, variance: Floats, cell_px: int) -> Floats:
    """Root mean square gradient of each window, divided by its standard deviation: [rows, columns]."""
    across: Floats = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=1), np.float32)
    down: Floats = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=1), np.float32)
    np.square(across, out=across)  # in place, as allocating megabytes takes longer than the squares
    np.square(down, out=down)
    across += down
    power = np.maximum(np.sqrt(window_means(across, cell_px)), 1e-3)
    return np.asarray(power / np.maximum(np.sqrt(variance), 1e-3), np.float32)
