"""Bars along the edges of a picture, of one colour and perhaps with a line of text: captions, frames. Pure.

A caption laid over a dark photo, or a low one over a wide photo, differs in few windows of texture, so it is looked for
as what it is, in each picture by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_NEAR = 20.0  # levels that a pixel of the bar may stray; JPEG at quality 10 stays within
_DEPTH = (0.03, 0.25)  # of the side that a bar eats into
_BAR, _BARE, _BEYOND = 0.35, 0.9, 0.7  # share of a row in the bar's colour: with text, without, and where the bar ends
_WRITTEN = 0.97  # share of the whole bar below which something is written on it


@dataclass(frozen=True, slots=True)
class Bar:
    """Corners [4, 2] of a bar in a picture's own pixels, and whether something is written on it."""

    corners: NDArray[np.float32]
    written: bool


def find_bars(small: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Bar, ...]:
    """Return the bars of an RGB picture of a `size` (width, height), one an edge at most.

    `small` [h, w, 3] is the picture at 256 pixels.
    """
    found = []
    scale = size[0] / small.shape[1], size[1] / small.shape[0]
    for turn in range(4):
        view = np.rot90(small, turn)
        bar = _upper_bar(view)
        if bar is not None:
            depth, written = bar
            covered = np.zeros(view.shape[:2], np.uint8)
            covered[:depth] = 1
            x, y, across, down = cv2.boundingRect(np.rot90(covered, -turn))
            corners = np.array([[x, y], [x + across, y], [x + across, y + down], [x, y + down]], np.float32)
            found.append(Bar(corners * scale, written))
    return tuple(found)


def _upper_bar(picture: NDArray[np.uint8]) -> tuple[int, bool] | None:
    """How many rows of [h, w, 3] a bar along the upper edge has, and whether something is written on it."""
    least, most = (round(share * len(picture)) for share in _DEPTH)
    if least < 2:
        return None
    colour = np.median(picture[:2].reshape(-1, 3), axis=0)
    near = cv2.inRange(np.ascontiguousarray(picture[: most + 4]), colour - _NEAR, colour + _NEAR) > 0
    alike = near.mean(axis=1)  # [rows]
    if alike[:2].mean() < _BARE:
        return None
    within = most if alike.min() >= _BAR else min(most, int(np.argmax(alike < _BAR)))
    ends = (d for d in range(within, least - 1, -1) if alike[d - 1] >= _BARE and alike[d + 1 : d + 4].max() <= _BEYOND)
    depth = next(ends, None)
    if depth is None:
        return None
    return depth, bool(alike[:depth].mean() < _WRITTEN)
