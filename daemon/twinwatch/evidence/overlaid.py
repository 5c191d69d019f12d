"""Finds what was laid over a picture: a caption, a logo, a sticker, a number.

Where two aligned pictures plainly differ, one of them must show few flat colours there, of which one is found nowhere
around. Anything else is another moment or another thing: in the second frame of a burst something has moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.colours import AlignedColours
from twinwatch.evidence.flat_colours import (
    FlatColours,
    core_pixels,
    find_flat_colours,
    main_colours,
    near_colour,
    pixels_only_here,
)
from twinwatch.evidence.levels import OverlaidLevels
from twinwatch.evidence.window_stats import channel_max, connected_windows, window_means
from twinwatch.evidence.windows import Windows


def differing_windows(windows: Windows, levels: OverlaidLevels) -> Mask:
    """Return the windows [rows, columns] in which the two pictures plainly show different things."""
    different = windows.valid & (np.maximum(windows.deviation, windows.copy_deviation) >= levels.min_deviation)
    different &= windows.correlation < levels.max_correlation
    different[[0, -1]] = different[:, [0, -1]] = False  # where a border ends, a pixel of it may bleed in
    return connected_windows(different, levels.min_windows)


def find_overlaid(
    windows: Windows,
    different: Mask,
    colours: AlignedColours,
    leaves_enough: Callable[[Mask], bool],
    levels: OverlaidLevels,
) -> Mask | None:
    """Return the windows [rows, columns] that something was laid over, in one of the two pictures.

    `different` are windows [rows, columns] that differ; `leaves_enough` says whether hidden windows leave enough to
    compare. None if what differs cannot all have been laid over, or would hide too much.
    """
    changed: Mask = channel_max(np.abs(colours.residual())) > levels.min_change  # [h, w]
    regions = list(_changed_regions(changed, different, windows.grid.cell_px))
    # Whatever was laid over covers at least all that changed there. For most different pictures that is too much.
    least = np.any([_covered_windows(region, windows) for region in regions], axis=0)
    if not leaves_enough(least):
        return None
    hidden = []
    for picture, other in ((colours.base, colours.warped), (colours.warped, colours.base)):
        # All of it in one picture: here in the one and there in the other would be a thing that moved.
        covered = _overlaid_pixels(picture, other, regions, levels)
        if covered is not None:
            hidden.append(_covered_windows(covered, windows))
    smallest = min(hidden, key=np.count_nonzero, default=None)
    return smallest if smallest is not None and leaves_enough(smallest) else None


def _covered_windows(covered: Mask, windows: Windows) -> Mask:
    """The windows [rows, columns] of which some pixels [h, w] are covered."""
    return window_means(covered.astype(np.float32), windows.grid.cell_px) > 0


def _changed_regions(changed: Mask, different: Mask, cell_px: int) -> Iterator[Mask]:
    """The changed pixels [h, w] of each group of neighbouring windows that differ."""
    near = cv2.dilate(different.astype(np.uint8), np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    for label in range(1, count):
        pixels = np.zeros(changed.shape, np.bool_)
        for row, column in zip(*np.nonzero((labels == label) & different), strict=True):
            top, left = row * cell_px, column * cell_px
            pixels[top : top + 2 * cell_px, left : left + 2 * cell_px] = True
        yield _touching(changed, pixels)


def _overlaid_pixels(picture: Floats, other: Floats, regions: Sequence[Mask], levels: OverlaidLevels) -> Mask | None:
    """The pixels [h, w] of all that was laid over `picture`; None where a region shows anything else."""
    covered = None
    unchanged = ~np.any(regions, axis=0)  # [h, w]
    for region in regions:
        addition = _addition(picture, other, region, unchanged, levels)
        if addition is None:
            return None
        covered = addition if covered is None else covered | addition
    return covered


def _addition(picture: Floats, other: Floats, changed: Mask, unchanged: Mask, levels: OverlaidLevels) -> Mask | None:
    """The pixels of what was laid over `picture` where it changed; None if that has not few flat colours.

    The pictures are [h, w, 3], the masks [h, w]; `unchanged` are the pixels that changed nowhere.
    """
    if int(changed.sum()) < levels.min_pixels:
        return None
    plate = _plate(picture, changed, unchanged, levels)
    if plate is not None:
        return plate
    flat = find_flat_colours(picture, changed, levels)
    if flat is None:
        return changed if _is_ink(picture, other, changed, levels) else None
    own = _own_pixels(flat, changed, unchanged, levels)
    if not own.any():
        return _edge_bar(flat, changed, levels)
    below = find_flat_colours(other, changed, levels)
    # Two things of flat colours in one place are two drawings, or one that moved by less than its size.
    if below is not None and _own_pixels(below, changed, unchanged, levels).any():
        return None
    return np.asarray(own | changed)


def _plate(picture: Floats, changed: Mask, unchanged: Mask, levels: OverlaidLevels) -> Mask | None:
    """The pixels of a plate that all that changed lies in, such as a logo's: a filled rectangle with ink of its own.

    Its ground may be white like much else. A tile among tiles has no ink of its own; a chessman has another shape.
    """
    ground = main_colours(picture[core_pixels(changed, levels)], levels)[0]  # [3]
    alike = near_colour(picture, ground, levels.max_stray)
    part = _touching(alike, alike & changed)
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    drawn = np.zeros(changed.shape, np.uint8)
    filled = cv2.drawContours(drawn, [outline], -1, 1, cv2.FILLED) > 0
    (width, height) = cv2.minAreaRect(outline)[1]
    around = cv2.dilate(filled.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if int(filled.sum()) < levels.min_plate_fill * (width + 1) * (height + 1):
        return None
    if changed[filled].mean() < levels.min_plate_changed or around[changed].mean() < levels.min_plate_cover:
        return None
    written = filled & ~near_colour(picture, ground, levels.min_colour_distance)
    if int(written.sum()) < levels.min_own_pixels:
        return None
    inks = (near_colour(picture, ink, levels.max_stray) for ink in main_colours(picture[written], levels))
    own = sum(pixels_only_here(ink, filled, unchanged) for ink in inks)
    return np.asarray(around | changed) if own >= levels.min_plate_ink_pixels else None


def _own_pixels(flat: FlatColours, changed: Mask, unchanged: Mask, levels: OverlaidLevels) -> Mask:
    """The pixels [h, w] of the colours that are found hardly anywhere where the picture has not changed.

    A ground that shows where something has gone goes on beyond that, and a chessman is one of many.
    """
    covered = np.zeros_like(changed)
    min_pixels = max(levels.min_own_share * int(changed.sum()), levels.min_own_pixels)
    for number, (colour, alike) in enumerate(zip(flat.colours, flat.masks, strict=True)):
        enough = pixels_only_here(alike, changed, unchanged) >= min_pixels
        if enough and not _is_mix(colour, np.delete(flat.colours, number, axis=0), levels.max_mix_residual):
            covered |= alike
    return covered


def _is_mix(colour: Floats, others: Floats, max_residual: float) -> bool:
    """True for a colour [3] between two of the others [k, 3]: their edge, and no ink of its own."""
    for one, other in itertools.combinations(others, 2):
        along = other - one
        share = float(np.clip((colour - one) @ along / max(float(along @ along), 1e-6), 0, 1))
        if float(np.abs(one + share * along - colour).max()) <= max_residual:
            return True
    return False


def _edge_bar(flat: FlatColours, changed: Mask, levels: OverlaidLevels) -> Mask | None:
    """The bar along an edge in which all that changed lies, if its colours fill it from end to end, and end there.

    A black caption below a dark photo has no edge of its own.
    """
    covered = flat.masks.any(axis=0) | changed
    for turn in range(4):
        bar, inside = np.rot90(covered, turn), np.rot90(changed, turn)
        depth = int(np.flatnonzero(inside.any(axis=1))[-1]) + 1  # from the upper edge
        if (
            depth <= levels.max_bar_depth * len(bar)
            and bar[:depth].mean() >= levels.min_bar_share
            and bar[depth + 2 : depth + 6].mean() <= levels.max_share_beyond_bar
        ):
            strip = np.zeros_like(covered)
            np.rot90(strip, turn)[:depth] = True
            return strip
    return None


def _is_ink(picture: Floats, other: Floats, changed: Mask, levels: OverlaidLevels) -> bool:
    """True for thin strokes of one colour on what is bare ground in the other picture: letters, all edge."""
    ground = np.median(other[changed], axis=0)  # [3]
    bare = np.abs(other[changed] - ground).max(axis=1) <= levels.max_stray  # [n]
    ink = picture[changed] - ground  # [n, 3]
    strength = np.linalg.norm(ink, axis=1)
    colour = ink[strength >= np.quantile(strength, levels.full_ink_quantile)].mean(axis=0)
    colour /= max(float(np.linalg.norm(colour)), 1e-6)
    off_colour = np.abs(ink - (ink @ colour)[:, None] * colour).max(axis=1) > levels.max_ink_stray * strength
    half_stroke_px = float(cv2.distanceTransform(changed.astype(np.uint8), cv2.DIST_L2, 3).max())
    mostly_ink = off_colour.mean() <= 1 - levels.min_ink_share
    return bool(bare.mean() >= levels.min_ink_share and mostly_ink and half_stroke_px <= levels.max_half_stroke_px)


def _touching(whole: Mask, part: Mask) -> Mask:
    """The connected pieces [h, w] of `whole` that touch `part`."""
    count, labels = cv2.connectedComponents(whole.astype(np.uint8), connectivity=8)
    touched = np.zeros(count, np.bool_)
    touched[labels[whole & part]] = True
    return np.asarray(touched[labels])
