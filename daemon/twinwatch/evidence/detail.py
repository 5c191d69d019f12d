"""Does a photo that lines up agree in its details too? Compared at up to 1,024 pixels, once all else speaks for a copy.

Another number on a plate, another price below the same product, a piece elsewhere on a board: where a whole scene
agrees, what differs is too small a share of it to count. So it is looked for as what it is, a few windows side by side
that differ by more than what was done to the rest explains. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from twinwatch.evidence.page import DETAIL, DIFFERS, EXACT, closely
from twinwatch.evidence.photo import hidden_by
from twinwatch.evidence.windows import COPY, Finding, Mask, Pair, Windows, correlate, side_by_side

# Measured on dev, of photos at 1,024 pixels: so many windows side by side that correlate by so much less than 95 in 100
# others, and are left so many levels apart whatever their contrast, one in 1,000 edited copies has (of those at JPEG
# quality 10 one in 100, which would be one in ten without the second), and nearly all with another number somewhere.
_USUAL, _FALLS_OUT, _MOST = 0.05, 0.1, 0.8
_APART, _SIDE_BY_SIDE = 30.0, 3
_EDGE = 2  # windows: rounded corners, and arcs of what an undistorted picture no longer shows
_FLATTER, _THROUGHOUT = 0.6, 0.9  # share of the other's deviation, and of the windows
_PRINTED_SHARE, _PRINTED_LIMIT = 0.05, 0.008  # of a photo from which it counts as print, and of that which may differ
_BLUR, _COARSE_BLUR = 0.8, 0.5  # pixels at 1,024 and at the photo's own size, a quarter of that or less
_TRUE_ENOUGH = 0.95  # score from which no closer look is taken
_BLEEDS = 5  # windows: what is hidden is known at a quarter of this size


def detail_score(finding: Finding, pair: Pair) -> float:
    """Return how surely a photo's details agree, 0..1; 1 where a blur does not let them be told."""
    if abs(finding.windows.blur) >= _COARSE_BLUR:
        return 1.0
    for windows in _ever_closer(finding, pair):
        seen = _seen(windows, finding.hidden)
        if _blurred(windows) or not (windows.both & seen).any():
            return 1.0
        different, score = _different(windows, seen), _print_score(windows, seen, pair)
        if not different.any() and score >= _TRUE_ENOUGH:
            return score
    return score if not different.any() or _explained(windows, different, pair) else COPY / 2


def _ever_closer(finding: Finding, pair: Pair) -> Iterator[Windows]:
    """Most placements are true enough at once; to look for shifts takes thrice as long, to correct them thrice that."""
    for grid in (replace(EXACT, reach=0), EXACT):
        yield correlate(finding.windows.placement, pair, grid, finding.tone)
    yield closely(finding.windows, pair, finding.tone)


def _blurred(windows: Windows) -> bool:
    """True where one of the two is a blur of the other: blur is made up for too roughly to tell details by."""
    return windows.detail < DETAIL and (not windows.even or abs(windows.blur) >= _BLUR)


def _seen(windows: Windows, hidden: Mask) -> Mask:
    """The windows [rows, columns] but for those that something lies over, as was found at the photo's coarser ones."""
    rows, columns = windows.whole.shape
    under = cv2.dilate(hidden.astype(np.uint8), np.ones((_BLEEDS, _BLEEDS), np.uint8))
    return np.asarray(cv2.resize(under, (columns, rows), interpolation=cv2.INTER_NEAREST) == 0)


def _different(windows: Windows, seen: Mask) -> Mask:
    """The windows [rows, columns] that fall out of what the rest agrees in."""
    likeness = windows.likeness.clip(0, 1)
    apart = np.maximum(windows.deviation, windows.copy_deviation) * np.sqrt(1 - likeness**2)  # levels
    least = min(float(np.quantile(windows.likeness[windows.both & seen], _USUAL)) - _FALLS_OUT, _MOST)
    out = windows.either & seen & (likeness < least) & (apart >= _APART)
    out[:_EDGE] = out[-_EDGE:] = out[:, :_EDGE] = out[:, -_EDGE:] = False
    return side_by_side(out, _SIDE_BY_SIDE)


def _explained(windows: Windows, different: Mask, pair: Pair) -> bool:
    """True where something was laid over one of the two, or it lost in all these windows what the other shows there.

    So a cursor or a retouched spot leaves a copy one. A figure shows in both, and a piece that moved shows here in the
    one and there in the other.
    """
    ours, theirs = windows.deviation[different], windows.copy_deviation[different]  # [n]
    flatter = max(float((ours < _FLATTER * theirs).mean()), float((theirs < _FLATTER * ours).mean()))
    return flatter >= _THROUGHOUT or hidden_by(windows, different, pair) is not None


def _print_score(windows: Windows, seen: Mask, pair: Pair) -> float:
    if windows.detail < DETAIL or any(view.printed < _PRINTED_SHARE for view in (pair.original, pair.copy)):
        return 1.0
    share = float((windows.likeness[windows.both & seen] < DIFFERS).mean())
    return max(0.0, 1 - (1 - COPY) * share / _PRINTED_LIMIT)
