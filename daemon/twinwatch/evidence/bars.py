"""Finds bars of one colour along the edges of a picture, with or without a line of text: captions, frames.

A caption on a dark photo, or a low one on a wide photo, differs in few textured windows. So each picture is searched
for bars by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.arrays import Pixels
from twinwatch.evidence.levels import BarLevels


@dataclass(frozen=True, slots=True)
class Bar:
    """Corners [4, 2] of a bar, in pixels of the full picture, and whether something is written on it."""

    corners: NDArray[np.float32]
    written: bool


def find_bars(small: Pixels, size: tuple[int, int], levels: BarLevels) -> tuple[Bar, ...]:
    """Return the bars of an RGB picture of `size` (width, height), at most one for each edge.

    `small` [h, w, 3] is the picture at 256 pixels.
    """
    found = []
    scale = size[0] / small.shape[1], size[1] / small.shape[0]
    for turn in range(4):
        view = np.rot90(small, turn)
        bar = _upper_bar(view, levels)
        if bar is not None:
            depth, written = bar
            covered = np.zeros(view.shape[:2], np.uint8)
            covered[:depth] = 1
            x, y, across, down = cv2.boundingRect(np.rot90(covered, -turn))
            corners = np.array([[x, y], [x + across, y], [x + across, y + down], [x, y + down]], np.float32)
            found.append(Bar(corners * scale, written))
    return tuple(found)


def _upper_bar(picture: Pixels, levels: BarLevels) -> tuple[int, bool] | None:
    """How many rows of [h, w, 3] a bar along the upper edge has, and whether something is written on it."""
    least, most = (round(share * len(picture)) for share in levels.depth_range)
    if least < 2:
        return None
    colour, stray = np.median(picture[:2].reshape(-1, 3), axis=0), levels.max_stray  # [3]
    near = cv2.inRange(np.ascontiguousarray(picture[: most + 4]), colour - stray, colour + stray) > 0
    alike = near.mean(axis=1)  # [rows]
    if alike[:2].mean() < levels.min_bare_row:
        return None
    bar_row = levels.min_written_row
    within = most if alike.min() >= bar_row else min(most, int(np.argmax(alike < bar_row)))
    for depth in range(within, least - 1, -1):
        if alike[depth - 1] >= levels.min_bare_row and alike[depth + 1 : depth + 4].max() <= levels.max_row_beyond:
            return depth, bool(alike[:depth].mean() < levels.min_bare_bar)
    return None
