"""Reduces pictures by area, quickly. Nothing is ever enlarged."""

from __future__ import annotations

import math

import cv2
import numpy as np

from twinwatch.evidence.arrays import Pixels

_MAX_STRIP_FACTOR = 2.0  # bounds what a very long strip costs


def reduction(size: tuple[int, ...], side: int, strips: bool = False) -> float:
    """Return the factor, at most 1, that brings the longer of the two sides in `size` to `side` pixels.

    With `strips`, a picture longer than 4:3 keeps as many pixels as one of 4:3, or it would be too thin to show much.
    """
    longest, shortest = max(size), max(1, min(size))
    longer = min(max(1.0, math.sqrt(0.75 * longest / shortest)), _MAX_STRIP_FACTOR) if strips else 1.0
    return min(1.0, longer * side / longest)


def reduced(picture: Pixels, factor: float) -> Pixels:
    """Reduce `picture` [h, w] or [h, w, 3] by a factor."""
    height, width = picture.shape[:2]
    size = reduced_size((width, height), factor)
    if size == (width, height):
        return picture
    if factor <= 0.5 and (width % size[0] or height % size[1]) and width % 2 == height % 2 == 0:
        # OpenCV reduces by whole numbers many times as fast.
        picture = np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def reduced_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return the size (width, height) to which a factor reduces a picture of `size`."""
    scale = min(1.0, factor)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
