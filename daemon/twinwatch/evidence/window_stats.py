"""Means and moments over windows of two by two cells, and groups of neighbouring windows."""

from __future__ import annotations

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Mask


def window_means(values: Floats, cell_px: int) -> Floats:
    """Return the means over windows that overlap by a cell: [H, W, ...] -> [H // cell - 1, W // cell - 1, ...]."""
    rows, columns = values.shape[0] // cell_px, values.shape[1] // cell_px
    small = cv2.resize(values[: rows * cell_px, : columns * cell_px], (columns, rows), interpolation=cv2.INTER_AREA)
    pairs = small[:-1] + small[1:]
    return np.asarray((pairs[:, :-1] + pairs[:, 1:]) / 4, dtype=np.float32)


def window_moments(values: Floats, cell_px: int) -> tuple[Floats, Floats]:
    """Return mean and variance of each window: [H, W] -> [rows, columns] each."""
    mean = window_means(values, cell_px)
    return mean, np.maximum(window_means(values * values, cell_px) - mean * mean, 0)


def connected_windows(windows: Mask, min_windows: int) -> Mask:
    """Return the windows [rows, columns] in connected groups of at least `min_windows`, corners counted."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(windows.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_windows
    large[0] = False  # the background
    return np.asarray(large[labels])


def channel_max(values: Floats) -> Floats:
    """Return the largest of three channels: [..., 3] -> [...]. NumPy's own `max` over so short an axis is slow."""
    return np.asarray(np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2]), np.float32)
