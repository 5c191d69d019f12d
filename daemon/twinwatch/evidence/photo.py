"""Does an aligned photo agree? Compared at 256 pixels, where an edited copy agrees nearly everywhere."""

from __future__ import annotations

import math

import cv2
import numpy as np

from twinwatch.evidence.arrays import Mask
from twinwatch.evidence.colours import warp_colours
from twinwatch.evidence.levels import COPY_SCORE, Levels, PhotoLevels
from twinwatch.evidence.overlaid import differing_windows, find_overlaid
from twinwatch.evidence.refine import fit_tone, refine_alignment
from twinwatch.evidence.sharpness import equalize_sharpness
from twinwatch.evidence.tone import Tone
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair
from twinwatch.evidence.warp import warp_pair
from twinwatch.evidence.windows import Finding, Windows, correlate


def compare_photo(alignment: Alignment, pair: Pair) -> Finding:
    """Compare two photos window by window, after correcting the alignment and the tone where that helps."""
    levels = pair.levels.photo
    windows = _correct_alignment(_correlate_finest(alignment, pair), pair)
    share = agreeing_share(windows, levels)
    if share < levels.min_share:
        return Finding(COPY_SCORE * share / levels.copy_share, windows, windows.under_bar)
    windows, tone = _correct_tone(windows, pair)
    share = agreeing_share(windows, levels)
    hidden, different = windows.under_bar, differing_windows(windows, pair.levels.overlaid)
    if different.any():
        overlaid = overlaid_windows(windows, different, pair)
        if overlaid is None:
            return Finding(min(COPY_SCORE * share / levels.copy_share, COPY_SCORE / 2), windows, hidden)
        hidden, share = overlaid | windows.under_bar, agreeing_share(windows, levels, overlaid)
    if windows.grid.side_px == levels.grids[-1].side_px and share >= levels.min_blurred_share:
        fits = 1 - _colour_misfit(windows, pair) / levels.max_colour_misfit
        score = COPY_SCORE + (1 - COPY_SCORE) * fits if fits >= 0 else COPY_SCORE / 2
        return Finding(score, windows, hidden, tone)
    if share < levels.copy_share:
        return Finding(COPY_SCORE * share / levels.copy_share, windows, hidden, tone)
    score = COPY_SCORE + (1 - COPY_SCORE) * (share - levels.copy_share) / (1 - levels.copy_share)
    return Finding(score, windows, hidden, tone)


def overlaid_windows(windows: Windows, different: Mask, pair: Pair) -> Mask | None:
    """Return the windows [rows, columns] under a caption, a sticker or the like.

    None if not all that is `different` can be that, or if it would hide too much.
    """
    levels = pair.levels.photo

    def leaves_enough(hidden: Mask) -> bool:
        area, texture = hidden[windows.valid].mean(), hidden[windows.textured].mean()
        return bool(area <= levels.max_hidden_area and texture <= levels.max_hidden_texture)

    return find_overlaid(windows, different, warp_colours(windows, pair), leaves_enough, pair.levels.overlaid)


def agreeing_share(windows: Windows, levels: PhotoLevels, hidden: Mask | None = None) -> float:
    """Return the share of the texture that agrees, 0..1, outside the `hidden` windows [rows, columns]."""
    counted = windows.textured if hidden is None else windows.textured & ~hidden
    if int(counted.sum()) < levels.min_windows:
        return 0.0
    # Texture weighs by its share in its own picture, so that a flatter contrast does not make a copy weigh less.
    ours, theirs = windows.deviation * counted, windows.copy_deviation * counted  # [rows, columns]
    weight = ours / max(float(ours.sum()), 1e-6) + theirs / max(float(theirs.sum()), 1e-6)
    return float((weight * (windows.correlation >= windows.grid.min_correlation)).sum() / weight.sum())


def _correlate_finest(alignment: Alignment, pair: Pair, tone: Tone | None = None) -> Windows:
    """Correlate on the finest grid on which the blurrier picture keeps enough of the other's detail."""
    for grid in pair.levels.photo.grids:
        windows = correlate(alignment, pair, grid, tone)
        if windows.sharpness.matched:
            break
    return windows


def _correct_alignment(windows: Windows, pair: Pair) -> Windows:
    """Correct the alignment as long as more of the texture agrees after each correction."""
    levels = pair.levels.photo
    for _ in range(levels.max_corrections):
        share = agreeing_share(windows, levels)
        if share < levels.min_correctable_share or _agrees_throughout(windows, pair.levels):
            break
        corrected = refine_alignment(windows, pair.levels)
        again = windows if corrected is None else _correlate_finest(corrected, pair)
        if agreeing_share(again, levels) <= share:
            break
        windows = again
    return windows


def _correct_tone(windows: Windows, pair: Pair) -> tuple[Windows, Tone | None]:
    """Fit the tone, and correlate again with equal levels where clipping hides agreement."""
    base, warped, _ = warp_pair(windows.alignment, pair, windows.grid)
    tone = fit_tone(windows, base, warped, pair.levels.windows)
    if tone is None or _agrees_throughout(windows, pair.levels):
        return windows, tone
    if tone.clipped_share(base, warped) > pair.levels.windows.max_clipped_share:
        toned = _correlate_finest(windows.alignment, pair, tone)
        # Blur too takes the lightest and darkest levels, and clipping those as well would only lose agreement.
        windows = max(windows, toned, key=lambda each: agreeing_share(each, pair.levels.photo))
    return windows, tone


def _agrees_throughout(windows: Windows, levels: Levels) -> bool:
    share = agreeing_share(windows, levels.photo)
    return share >= levels.photo.sufficient_share and not differing_windows(windows, levels.overlaid).any()


def _colour_misfit(windows: Windows, pair: Pair) -> float:
    """How far the colours of two blurred pictures differ, as a share of how much they vary: 0..1."""
    levels, blur_px = pair.levels.photo, windows.sharpness.blur_px
    base, warped, coverage = warp_pair(windows.alignment, pair, windows.grid, colour=True)
    margin = 2 * math.ceil(levels.misfit_edge_sigmas * abs(blur_px)) + 1
    square, covered = np.ones((margin, margin), np.uint8), (coverage > levels.misfit_min_coverage).astype(np.uint8)
    seen = cv2.erode(covered, square, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not seen.any():
        return 1.0
    least = 1.0
    for factor in levels.misfit_blur_factors:
        ours, theirs = (plane[seen] for plane in equalize_sharpness(base, warped, factor * blur_px))  # [n, 3]
        ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
        power = (ours**2).sum(axis=0) * (theirs**2).sum(axis=0)  # [3]
        determination = (ours * theirs).sum(axis=0) ** 2 / np.maximum(power, 1e-6)  # [3], R squared
        least = min(least, float(np.sqrt(max(0.0, 1 - determination.min()))))
    return least
