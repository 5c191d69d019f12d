"""Does text line up? Compared at up to 1,024 pixels and strictly: two receipts of one shop differ only in figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twinwatch.evidence.transforms import Placement
from twinwatch.evidence.windows import COPY, Finding, Grid, Mask, Pair, Tone, Windows, correlate, refined, side_by_side

SIDE = 1024  # pixels; decode no smaller

FEATURE_SIDES = (320, 640)  # letters need more than shapes do

_MIN_WINDOWS = 12  # with fewer windows of text, agreement can be chance
_FOLLOW = 0.2  # share of windows that agree coarsely from which a placement is worth a closer look
_READABLE_SIDE = 600  # pixels from which a page can be read
DETAIL = 0.8  # gradient a grey level: sharp or half-size text has 1.15 and more, blurred by 1% of the width 0.5
# Measured on dev, windows of text: edited receipts have none below 0.6, the nearest strangers 2.5% of them.
DIFFERS, _LIMIT = 0.6, 0.0025  # one other line on a full page
# A figure is three windows or more, side by side, that agree so much less than 99 in 100 others. Copies have at most
# two, but for one in twenty at JPEG quality 10; at a level of 0.95 a tenth of those turned by 5 degrees would be lost.
_FALLS_OUT, _OUT, _SIDE_BY_SIDE = 0.08, (0.7, 0.92), 3
# On a small page, or with letters lost to blur, words still have lengths; beyond that nothing tells forms apart.
_SMALL_DIFFERS, _SMALL_LIMIT = 0.9, 0.008  # strangers have 2.5% and more at 256 pixels
# Measured on dev: blurred copies have at most 0.34% of windows below 0.95, the nearest blurred strangers 6%.
_BLURRED_DIFFERS, _BLURRED_LIMIT = 0.95, 0.006
_BLURRED_DETAIL = 0.45
_BAR_STEP = 60  # grey levels between paper and a caption bar drawn on it
_STRIP = 5  # a bar may hide one edge strip, up to one part in this many

_COARSE = Grid(256, cell=8, reach=2, texture=6.0)
_MIDDLE = Grid(512, cell=10, reach=2, texture=10.0)
_FINE = Grid(SIDE, cell=10, reach=2, texture=10.0)
EXACT = replace(_FINE, reach=1)
_SMALL = replace(EXACT, smooth=0.8)
_BLURRED = Grid(512, cell=6, reach=1, texture=8.0, sigmas=7)


def judge_page(placement: Placement, pair: Pair) -> Finding:
    """Compare a page window by window, coarsely first, then at the finest size that both pictures resolve."""
    windows = correlate(placement, pair, _COARSE)
    pluralize = windows.either
    if int(pluralize.sum()) < _MIN_WINDOWS or float((windows.likeness[pluralize] >= COPY).mean()) < _FOLLOW:
        return Finding(0.0, windows, np.zeros_like(windows.whole))
    windows = closely(windows, pair)
    if windows.detail >= DETAIL:
        if max(pair.original.size) >= _READABLE_SIDE:
            finding = _finding(windows, DIFFERS, _LIMIT)
            other = finding.score >= COPY and _one_figure_differs(windows, finding.hidden)
            return replace(finding, score=COPY / 2) if other else finding
        return _finding(correlate(windows.placement, pair, _SMALL), _SMALL_DIFFERS, _SMALL_LIMIT)
    windows = correlate(windows.placement, pair, _BLURRED)
    if windows.detail >= _BLURRED_DETAIL and max(pair.original.size) >= _READABLE_SIDE:
        return _finding(windows, _BLURRED_DIFFERS, _BLURRED_LIMIT)
    return Finding(0.0, windows, np.zeros_like(windows.whole))


def closely(windows: Windows, pair: Pair, tone: Tone | None = None) -> Windows:
    """Compare at full size, with the placement corrected on the way; `tone` as for `correlate`."""
    for grid in (_MIDDLE, _FINE, EXACT):
        windows = correlate(refined(windows) or windows.placement, pair, grid, tone)
    return windows


def _finding(windows: Windows, differs: float, limit: float) -> Finding:
    """1 where no window of text differs, 0.6 where a share `limit` of them does, 0 soon after."""
    bars = _bars(windows)
    pluralize = windows.both & ~bars
    if int(pluralize.sum()) < _MIN_WINDOWS:
        return Finding(0.0, windows, bars)
    share = float((windows.likeness[pluralize] < differs).mean())
    return Finding(max(0.0, 1 - (1 - COPY) * share / limit), windows, bars)


def _one_figure_differs(windows: Windows, hidden: Mask) -> bool:
    """True where a few windows side by side fall out of what the page agrees in, however much the page holds."""
    pluralize = windows.both & ~hidden
    usual = float(np.quantile(windows.likeness[pluralize], 0.01))
    least = min(max(usual - _FALLS_OUT, _OUT[0]), _OUT[1])
    return bool(side_by_side(pluralize & (windows.likeness < least), _SIDE_BY_SIDE).any())


def _bars(windows: Windows) -> Mask:
    """Windows in an edge strip whose ground the copy changed: a caption bar, not other words on the same paper."""
    hidden = np.zeros_like(windows.whole)
    step = np.abs(windows.copy_mean - windows.mean) * windows.whole
    for axis in (0, 1):
        changed = np.median(step, axis=1 - axis) > _BAR_STEP  # [rows] or [columns]
        lines = np.moveaxis(hidden, axis, 0)
        for edge in (slice(None), slice(None, None, -1)):
            depth = int(np.argmin(np.append(changed[edge], False)))
            if 0 < depth <= len(changed) // _STRIP + 1:
                lines[edge][: depth + 2] = True  # and the windows that straddle its border
    return hidden
