"""Are the colours those of the original, or of another thing of the same shape? Pure.

An editor changes the colours of a whole picture by one rule; the same product in another colour is another product.
So one rule is sought that takes the one picture's colours to the other's, and what it leaves over speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.colour_rule import LUMA, Recolouring, find_rule
from twinwatch.evidence.windows import (
    Finding,
    Floats,
    Mask,
    Pair,
    Windows,
    cells,
    evenly_sharp,
    largest,
    lay,
    side_by_side,
)

_SAME_SHAPE = 0.9  # the correlation from which a window's colour is believed
_GREY = 5.0  # mean chroma below which a picture is grey; JPEG leaves 1 to 3
_CLIPPED = 4.0  # levels from black or white that may have been cut off
_FEW_WINDOWS = 12
_PIXELS, _SMOOTH = 400, 1.5  # how many pixels of each sort are asked for the rule; blur against noise
# Levels by which three windows, side by side, may not miss; JPEG keeps grey more closely than colour.
_OTHER_LUMA, _OTHER, _SIDE_BY_SIDE = 14.0, 30.0, 3

_CHROMA = np.array([[0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]], np.float32)  # Cr and Cb


@dataclass(frozen=True, slots=True)
class Laid:
    """Both pictures at a grid's size, equally sharp, [h, w, 3] in 0..255, and the rule that evens their colours."""

    base: Floats
    laid: Floats
    rule: Recolouring | None

    def apart(self) -> Floats:
        """How far the colours are apart after the rule: [h, w, 3], signed levels."""
        base, laid = (self.base, self.laid) if self.rule is None else self.rule.even(self.base, self.laid)
        return base - laid


@dataclass(frozen=True, slots=True)
class Colours:
    """Mean chroma of the original and of the copy, and what became of it."""

    original: float
    copy: float
    other: bool  # another thing's
    cast: bool  # the rule treats the channels unevenly

    @property
    def greyed(self) -> bool:
        """The copy alone is grey."""
        return self.original >= 2 * _GREY and self.copy < _GREY


def lay_colours(windows: Windows, pair: Pair) -> Laid:
    """Lay the copy on the original in colour and find the rule that the windows which agree have in common."""
    base, laid, _ = lay(windows.placement, pair, windows.grid, colour=True)
    base, laid = evenly_sharp(base + 128, laid + 128, windows.blur)
    among = windows.both & (windows.likeness >= _SAME_SHAPE)
    if int(among.sum()) < _FEW_WINDOWS:
        among = _shaped(windows)
    height, width = base.shape[:2]
    seen = cv2.resize(among.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).ravel() > 0
    cut = np.maximum(np.abs(base - 127.5), np.abs(laid - 127.5)) > 127.5 - _CLIPPED  # [h, w, 3]
    clear = cv2.dilate(cut.astype(np.uint8), np.ones((5, 5), np.uint8)).reshape(-1, 3) == 0  # [h * w, 3]
    whole = clear[:, 0] & clear[:, 1] & clear[:, 2]
    picked = np.concatenate([_spread(np.flatnonzero(seen & whole)), _spread(np.flatnonzero(seen & ~whole))])  # [n]
    smooth = _smooth(base)[picked], _smooth(laid)[picked]  # [n, 3] each
    sharp = base.reshape(-1, 3)[picked], laid.reshape(-1, 3)[picked]
    return Laid(base, laid, find_rule(smooth, sharp, clear[picked]))


def colours(finding: Finding, pair: Pair) -> Colours:
    """Compare the colours of what lines up, but for what was laid over it."""
    windows = finding.windows
    view = lay_colours(windows, pair)
    seen = _shaped(windows) & ~finding.hidden
    if not seen.any():
        return Colours(0.0, 0.0, False, False)
    chroma = [
        float(np.linalg.norm(cells(plane, windows.grid.cell)[seen] @ _CHROMA.T, axis=1).mean())
        for plane in (view.base, view.laid)
    ]
    apart = cells(view.apart(), windows.grid.cell)  # [rows, columns, 3]
    missed = (np.abs(apart @ LUMA) > _OTHER_LUMA) | (largest(np.abs(apart)) > _OTHER)  # [rows, columns]
    other = bool(side_by_side(missed & seen, _SIDE_BY_SIDE).any())
    rule = view.rule
    cast = rule is not None and float(rule.gains.max()) > 1.15 * float(rule.gains.min())
    return Colours(chroma[0], chroma[1], other, cast)


def _shaped(windows: Windows) -> Mask:
    """Windows [rows, columns] that show the same, even if that is nothing."""
    return windows.whole & (~windows.either | (windows.likeness >= _SAME_SHAPE))


def _smooth(plane: Floats) -> Floats:
    """[h, w, 3] -> [h * w, 3]."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _SMOOTH), np.float32).reshape(-1, 3)


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[:: max(1, len(rows) // _PIXELS)]
