"""Does a photo line up? Compared at 256 pixels, where an edited copy agrees nearly everywhere. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from twinwatch.evidence.colours import lay_colours
from twinwatch.evidence.overlaid import differing, laid_over
from twinwatch.evidence.transforms import Placement
from twinwatch.evidence.windows import (
    COPY,
    Finding,
    Grid,
    Mask,
    Pair,
    Tone,
    Windows,
    correlate,
    evenly_sharp,
    lay,
    refined,
    tone_of,
)

FEATURE_SIDES = (160, 256)  # where strangers are told, and where a placement is found: at 208 deep crops are lost

_MIN_WINDOWS = 12  # with fewer textured windows, agreement can be chance
_FOLLOW, _ENOUGH = 0.2, 0.95  # shares of agreeing windows between which a placement is worth correcting
_CORRECTIONS = 2
_LEAST = 0.4  # share below which not even what was laid over would explain the rest

# Measured on dev: of edited photos 0.91 of the texture and more agrees (JPEG at quality 10 least), mostly over 0.95; of
# strangers at most 0.80 (one motorcycle in two colours), and 0.85 where one is blurred (one face in two rooms).
_SHARE = 0.92
_HIDDEN_SHARE = 0.5  # of the picture that may lie under what was laid over it, or beside that
_HIDDEN_TEXTURE = 0.7  # of what the two show anything in: the rest has to speak for a copy
_SMOOTH = 1.0  # pixels; takes off JPEG's blocks, which hide agreement, and no stranger's shapes
_FINE = Grid(256, cell=8, reach=1, texture=6.0, smooth=_SMOOTH, strips=True, bars=True)
_BLURRED = replace(_FINE, side=64, sigmas=7)
# A blurred picture is compared at the finest size that both resolve.
_GRIDS = (_FINE, replace(_FINE, side=128), replace(_FINE, side=64), _BLURRED)
# The correlation at which a window agrees, after _SMOOTH, by side. Blur takes away noise and detail alike, so a
# blurred copy agrees more closely and a blurred stranger too: at 64, of the nearest strangers blurred by 2.5% of the
# width, up to all of the texture is over 0.9 and 0.80 of it over 0.99.
_AGREES = {256: 0.9, 128: 0.97, 64: 0.99}
# Where blur left little else, colours have to fit: copies miss by 0.02 to 0.08, the nearest strangers by 0.14 and more.
_BLURRED_SHARE, _MISFIT = 0.5, 0.1
_EDGE, _SEEN = 1.5, 0.5  # blurs from the edge within which it is not compared; share of a pixel that the copy covers


def judge_photo(placement: Placement, pair: Pair) -> Finding:
    windows = _finest(placement, pair)
    for _ in range(_CORRECTIONS):
        share = _agreeing(windows)
        if share < _FOLLOW or _agrees_throughout(windows):
            break
        corrected = refined(windows)
        again = windows if corrected is None else _finest(corrected, pair)
        if _agreeing(again) <= share:
            break
        windows = again
    share = _agreeing(windows)
    if share < _LEAST:
        return Finding(COPY * share / _SHARE, windows, windows.barred)
    base, laid, _ = lay(windows.placement, pair, windows.grid)
    tone = tone_of(windows, base, laid)
    if not _agrees_throughout(windows) and tone is not None and tone.clips(base, laid):
        toned = _finest(windows.placement, pair, tone)
        # Blur too takes the lightest and darkest levels, and cutting those off as well would only lose agreement.
        windows = max(windows, toned, key=_agreeing)
        share = _agreeing(windows)
    hidden, different = windows.barred, differing(windows)
    if different.any():
        under = hidden_by(windows, different, pair)
        if under is None:
            return Finding(min(COPY * share / _SHARE, COPY / 2), windows, hidden)
        hidden, share = under | windows.barred, _agreeing(windows, under)
    if windows.grid.side == _BLURRED.side and share >= _BLURRED_SHARE:
        fits = 1 - _misfit(windows, pair) / _MISFIT
        return Finding(COPY + (1 - COPY) * fits if fits >= 0 else COPY / 2, windows, hidden, tone)
    score = COPY * share / _SHARE if share < _SHARE else COPY + (1 - COPY) * (share - _SHARE) / (1 - _SHARE)
    return Finding(score, windows, hidden, tone)


def hidden_by(windows: Windows, different: Mask, pair: Pair) -> Mask | None:
    """Return the windows under a caption, a sticker or the like; None if what differs is none, or too much."""

    def bearable(hidden: Mask) -> bool:
        return bool(hidden[windows.whole].mean() <= _HIDDEN_SHARE and hidden[windows.either].mean() <= _HIDDEN_TEXTURE)

    return laid_over(windows, different, lay_colours(windows, pair), bearable)


def _misfit(windows: Windows, pair: Pair) -> float:
    """Of pictures of which blur left little but colours: how far those differ, as a share of how much they vary."""
    base, laid, inside = lay(windows.placement, pair, windows.grid, colour=True)
    # What an editor's blur took from beyond the edge is not known.
    margin = 2 * math.ceil(_EDGE * abs(windows.blur)) + 1
    square = np.ones((margin, margin), np.uint8)
    seen = cv2.erode((inside > _SEEN).astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not seen.any():
        return 1.0
    least = 1.0
    for factor in (0.7, 0.85, 1.0, 1.2, 1.4):  # the blur that evened them out is known no closer
        ours, theirs = (plane[seen] for plane in evenly_sharp(base, laid, factor * windows.blur))  # [n, 3]
        ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
        power = (ours**2).sum(axis=0) * (theirs**2).sum(axis=0)  # [3]
        alike = (ours * theirs).sum(axis=0) ** 2 / np.maximum(power, 1e-6)
        least = min(least, float(np.sqrt(max(0.0, 1 - alike.min()))))
    return least


def _finest(placement: Placement, pair: Pair, tone: Tone | None = None) -> Windows:
    """Compare at the finest size at which the blurrier picture keeps enough of the other's detail."""
    for grid in _GRIDS:
        windows = correlate(placement, pair, grid, tone)
        if windows.even:
            break
    return windows


def _agrees_throughout(windows: Windows) -> bool:
    return _agreeing(windows) >= _ENOUGH and not differing(windows).any()


def _agreeing(windows: Windows, hidden: Mask | None = None) -> float:
    """Share of the texture that agrees, 0..1, but for what is `hidden`."""
    pluralize = windows.either if hidden is None else windows.either & ~hidden
    if int(pluralize.sum()) < _MIN_WINDOWS:
        return 0.0
    # Texture weighs by its share in its own picture, so that a flatter contrast does not make a copy weigh less.
    ours, theirs = windows.deviation * pluralize, windows.copy_deviation * pluralize  # [rows, columns]
    weight = ours / max(float(ours.sum()), 1e-6) + theirs / max(float(theirs.sum()), 1e-6)
    return float((weight * (windows.likeness >= _AGREES[windows.grid.side])).sum() / weight.sum())
