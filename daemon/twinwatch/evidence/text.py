"""Where is text? It is judged strictly, so `verify` has to know a page from a photo and from a drawing. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

_LONGEST_STRIP = 2.0
_LOW = 0.06  # share of the longest side; letters and lines of text are lower, most parts of a drawing are not
_SPECK = 6  # pixels
_READABLE = 600  # pixels of a photo from which what is printed in it can be read


def reduction(size: tuple[int, ...], side: int, strips: bool = False) -> float:
    """The factor, at most 1, that brings the longer of the two sides in `size` to `side`.

    With `strips`, a picture longer than 4:3 keeps as many pixels as one of 4:3, or it would be too thin to show much.
    """
    longest, shortest = max(size), max(1, min(size))
    longer = min(max(1.0, math.sqrt(0.75 * longest / shortest)), _LONGEST_STRIP) if strips else 1.0
    return min(1.0, longer * side / longest)


def shrink(picture: Grey, side: int, strips: bool = False) -> Grey:
    """Reduce `picture` [h, w] to `side` pixels as `reduction` counts them, by area; never enlarge."""
    return reduced(picture, reduction(picture.shape[:2], side, strips))


def reduced(picture: Grey, factor: float) -> Grey:
    """Reduce `picture` [h, w] or [h, w, 3] by a factor, by area; never enlarge."""
    height, width = picture.shape[:2]
    size = reduced_size((width, height), factor)
    if size == (width, height):
        return picture
    if factor <= 0.5 and (width % size[0] or height % size[1]) and width % 2 == height % 2 == 0:
        # OpenCV reduces by whole numbers many times as fast.
        picture = np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def reduced_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """The size (width, height) that a picture of `size` is reduced to by a factor."""
    scale = min(1.0, factor)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def text_like(grey: Grey, small: Grey) -> bool:
    """True where letters stand on one even ground and little else does: a document or a screenshot, not a drawing.

    `small` is `grey` at 256 pixels.
    """
    coarse = _strokes(small, reach=15, step=20)
    # On dev, lines of text make up 0.46 and more of all strokes seen so coarsely, those of drawings at most 0.2.
    if coarse.low < 0.3:
        return False
    # Receipts have a ground of 0.63 to 0.98, strokes of 0.02 to 0.16 and little else; photos fail on each.
    if max(grey.shape) >= 400 and coarse.solid < 0.12:
        fine = _strokes(grey, reach=round(max(grey.shape) / 70) | 1, step=40)
        if fine.ground >= 0.6 and fine.share >= 0.015 and fine.solid < 0.08 and fine.low >= 0.5:
            return True
    # Small or blurred, text is lines and patches, which a wide closing still takes away.
    return coarse.ground >= 0.6 and coarse.share >= 0.025 and coarse.solid < 0.05


def printed(grey: Grey) -> float:
    """Share of small cells that hold strokes on even paper, whatever surrounds them."""
    small = shrink(grey, 512)
    cell, reach = 16, round(max(small.shape) / 64) | 1
    rows, columns = small.shape[0] // cell, small.shape[1] // cell
    if rows == 0 or columns == 0 or max(grey.shape) < _READABLE:
        return 0.0
    share = 0.0
    for light in (small, 255 - small):
        closed = np.asarray(cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)), np.uint8)
        strokes = (cv2.subtract(closed, light) > 40).astype(np.float32)
        paper = closed.astype(np.float32)
        crop, size = (slice(rows * cell), slice(columns * cell)), (columns, rows)
        mean, power, filled = (
            cv2.resize(np.ascontiguousarray(plane[crop]), size, interpolation=cv2.INTER_AREA)
            for plane in (paper, paper * paper, strokes)
        )
        share = max(share, float(((power - mean * mean < 100) & (filled > 0.04) & (filled < 0.6)).mean()))
    return share


@dataclass(frozen=True, slots=True)
class _Strokes:
    """Shares of a picture that are even ground, thin strokes on it, anything wider; and of the strokes, low ones."""

    ground: float
    share: float
    solid: float
    low: float


def _strokes(grey: Grey, reach: int, step: int) -> _Strokes:
    """Find what is thinner than `reach` pixels and `step` grey levels from the commonest level."""
    counts = np.asarray(cv2.calcHist([grey], [0], None, [256], [0, 256])).ravel() / grey.size
    near = np.convolve(counts, np.ones(31), "same")
    level = int(near.argmax())
    light = grey if level >= 128 else 255 - grey
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    thin = cv2.subtract(closed, light) > step
    solid = float((cv2.absdiff(closed, np.full_like(closed, max(level, 255 - level))) > step).mean())
    _, _, stats, _ = cv2.connectedComponentsWithStats(thin.astype(np.uint8), connectivity=8)
    parts = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= _SPECK]
    height = parts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].min(axis=1)  # [n]; a line may run either way
    area = parts[:, cv2.CC_STAT_AREA]
    low = float(area[height < _LOW * max(grey.shape)].sum()) / max(1, int(area.sum()))
    return _Strokes(float(near.max()), float(thin.mean()), solid, low)
