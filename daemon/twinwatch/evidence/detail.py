"""Does an aligned photo agree in its details too? Compared at up to 1,024 pixels, if all else speaks for a copy.

Another number on a plate, another price below the same product, a piece elsewhere on a board: where a whole scene
agrees, what differs is too small a share to count. So a few windows side by side are searched for that differ by more
than what was done to the rest explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from twinwatch.evidence.arrays import Mask
from twinwatch.evidence.levels import COPY_SCORE, DetailLevels, Levels
from twinwatch.evidence.page import correlate_at_full_size
from twinwatch.evidence.photo import overlaid_windows
from twinwatch.evidence.view import Pair
from twinwatch.evidence.window_stats import connected_windows
from twinwatch.evidence.windows import Finding, Windows, correlate


def detail_score(finding: Finding, pair: Pair) -> float:
    """Return how surely the details of two photos agree, 0..1; 1 where blur prevents a comparison."""
    levels = pair.levels.detail
    if abs(finding.windows.sharpness.blur_px) >= levels.max_coarse_blur_px:
        return 1.0
    for windows in _increasingly_precise(finding, pair):
        visible = _visible(windows, finding.hidden, levels)
        if _is_blurred(windows, pair.levels) or not (windows.textured_in_both & visible).any():
            return 1.0
        different, score = _differing_details(windows, visible, levels), _print_score(windows, visible, pair)
        if not different.any() and score >= levels.sufficient_score:
            return score
    return score if not different.any() or _is_explained(windows, different, pair) else COPY_SCORE / 2


def _increasingly_precise(finding: Finding, pair: Pair) -> Iterator[Windows]:
    """Most alignments are good enough at once; searching shifts takes thrice as long, correcting thrice that."""
    grid = pair.levels.detail.grid
    for each in (replace(grid, max_shift_px=0), grid):
        yield correlate(finding.windows.alignment, pair, each, finding.tone)
    yield correlate_at_full_size(finding.windows, pair, finding.tone)


def _is_blurred(windows: Windows, levels: Levels) -> bool:
    """True where one of the two is blurred: blur is equalized too roughly to compare details."""
    sharpness = windows.sharpness
    unequal = not sharpness.matched or abs(sharpness.blur_px) >= levels.detail.max_blur_px
    return sharpness.crispness < levels.page.min_crispness and unequal


def _visible(windows: Windows, hidden: Mask, levels: DetailLevels) -> Mask:
    """The windows [rows, columns] that nothing was laid over. `hidden` are the photo's coarser windows."""
    rows, columns = windows.valid.shape
    bleed = levels.hidden_bleed_windows
    under = cv2.dilate(hidden.astype(np.uint8), np.ones((bleed, bleed), np.uint8))
    return np.asarray(cv2.resize(under, (columns, rows), interpolation=cv2.INTER_NEAREST) == 0)


def _differing_details(windows: Windows, visible: Mask, levels: DetailLevels) -> Mask:
    """The windows [rows, columns] that correlate less than the others explain."""
    correlation = windows.correlation.clip(0, 1)
    # What least squares leave of the deviation at a correlation r is sqrt(1 - r^2) of it.
    residual = np.maximum(windows.deviation, windows.copy_deviation) * np.sqrt(1 - correlation**2)  # grey levels
    usual = float(np.quantile(windows.correlation[windows.textured_in_both & visible], levels.usual_quantile))
    threshold = min(usual - levels.min_drop, levels.max_correlation)
    out = windows.textured & visible & (correlation < threshold) & (residual >= levels.min_residual)
    edge = levels.edge_windows
    out[:edge] = out[-edge:] = out[:, :edge] = out[:, -edge:] = False
    return connected_windows(out, levels.min_windows)


def _is_explained(windows: Windows, different: Mask, pair: Pair) -> bool:
    """True where one picture is flat in all these windows, or something was laid over one of the two.

    So a cursor or a retouched spot leaves a copy one. A number shows in both, and a piece that moved shows here in the
    one picture and there in the other.
    """
    levels = pair.levels.detail
    ours, theirs = windows.deviation[different], windows.copy_deviation[different]  # [n]
    flat_share = max(
        float((ours < levels.max_flat_deviation * theirs).mean()),
        float((theirs < levels.max_flat_deviation * ours).mean()),
    )
    return flat_share >= levels.min_flat_share or overlaid_windows(windows, different, pair) is not None


def _print_score(windows: Windows, visible: Mask, pair: Pair) -> float:
    """How well printed text agrees, 0..1; 1 where the photo shows none that could be read."""
    levels, page = pair.levels.detail, pair.levels.page
    views = (pair.original, pair.copy)
    if windows.sharpness.crispness < page.min_crispness:
        return 1.0
    if any(view.printed_share(pair.levels.print) < levels.min_printed_share for view in views):
        return 1.0
    counted = windows.correlation[windows.textured_in_both & visible]  # [n]
    share = float((counted < page.readable.min_correlation).mean())
    return max(0.0, 1 - (1 - COPY_SCORE) * share / levels.max_printed_difference)
