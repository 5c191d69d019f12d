"""Does an aligned page agree? Compared strictly, at up to 1,024 pixels.

Two receipts of one shop differ in a few figures only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twinwatch.evidence.arrays import Mask
from twinwatch.evidence.levels import COPY_SCORE, DifferenceLimit, PageLevels
from twinwatch.evidence.refine import refine_alignment
from twinwatch.evidence.tone import Tone
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair
from twinwatch.evidence.window_stats import connected_windows
from twinwatch.evidence.windows import Finding, Windows, correlate


def compare_page(alignment: Alignment, pair: Pair) -> Finding:
    """Compare a page window by window, coarsely first, then at the finest size that both pictures resolve."""
    levels = pair.levels.page
    windows = correlate(alignment, pair, levels.coarse_grid)
    if not _agrees_coarsely(windows, levels):
        return Finding(0.0, windows, np.zeros_like(windows.valid))
    windows = correlate_at_full_size(windows, pair)
    readable = max(pair.original.size) >= levels.min_readable_px
    if windows.sharpness.crispness >= levels.min_crispness:
        if readable:
            finding = _finding(windows, levels.readable, levels)
            other = finding.score >= COPY_SCORE and _one_figure_differs(windows, finding.hidden, levels)
            return replace(finding, score=COPY_SCORE / 2) if other else finding
        return _finding(correlate(windows.alignment, pair, levels.small_grid), levels.small, levels)
    windows = correlate(windows.alignment, pair, levels.blurred_grid)
    if readable and windows.sharpness.crispness >= levels.min_blurred_crispness:
        return _finding(windows, levels.blurred, levels)
    return Finding(0.0, windows, np.zeros_like(windows.valid))  # nothing tells one form from another


def correlate_at_full_size(windows: Windows, pair: Pair, tone: Tone | None = None) -> Windows:
    """Correlate at full size and correct the alignment on the way; `tone` as for `correlate`."""
    for grid in pair.levels.page.grids:
        windows = correlate(refine_alignment(windows, pair.levels) or windows.alignment, pair, grid, tone)
    return windows


def _agrees_coarsely(windows: Windows, levels: PageLevels) -> bool:
    counted = windows.textured
    if int(counted.sum()) < levels.min_windows:
        return False
    share = float((windows.correlation[counted] >= levels.min_coarse_correlation).mean())
    return share >= levels.min_coarse_share


def _finding(windows: Windows, limit: DifferenceLimit, levels: PageLevels) -> Finding:
    """Score 1 where no window of text differs, COPY_SCORE where a share `limit.max_share` does, 0 soon after."""
    bars = _bar_windows(windows, levels)
    counted = windows.textured_in_both & ~bars
    if int(counted.sum()) < levels.min_windows:
        return Finding(0.0, windows, bars)
    share = float((windows.correlation[counted] < limit.min_correlation).mean())
    return Finding(max(0.0, 1 - (1 - COPY_SCORE) * share / limit.max_share), windows, bars)


def _one_figure_differs(windows: Windows, hidden: Mask, levels: PageLevels) -> bool:
    """True where a few windows side by side correlate less than usual on this page, however much it holds."""
    counted = windows.textured_in_both & ~hidden
    usual = float(np.quantile(windows.correlation[counted], levels.figure_quantile))
    low, high = levels.figure_correlation_range
    threshold = min(max(usual - levels.figure_drop, low), high)
    return bool(connected_windows(counted & (windows.correlation < threshold), levels.min_figure_windows).any())


def _bar_windows(windows: Windows, levels: PageLevels) -> Mask:
    """Windows in an edge strip whose ground changed: under a caption bar, not other words on the same paper."""
    hidden = np.zeros_like(windows.valid)
    step = np.abs(windows.copy_mean - windows.mean) * windows.valid
    for axis in (0, 1):
        changed = np.median(step, axis=1 - axis) > levels.min_bar_step  # [rows] or [columns]
        lines = np.moveaxis(hidden, axis, 0)
        for edge in (slice(None), slice(None, None, -1)):
            depth = int(np.argmin(np.append(changed[edge], False)))
            if 0 < depth <= len(changed) // levels.bar_parts + 1:
                lines[edge][: depth + 2] = True  # and the windows that straddle its border
    return hidden
