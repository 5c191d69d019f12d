"""What was laid over a picture: a caption, a logo, a sticker, a number; and what cannot have been.

Where two pictures that line up differ plainly, one of them must show flat colours there that its surroundings lack.
Anything else is another moment or another thing: a second frame of a burst has moved, not gained a sticker. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from twinwatch.evidence.overlay import Floats, Mask, Windows, cells

# Measured on dev: no window of an edited photo, whatever the edit, differs this much unless something was laid over it.
_DIFFERS = 0.5  # correlation
_TEXTURE = 10.0  # deviation in grey levels that one of the two must have
_FEW_WINDOWS = 2  # fewer, side by side, may be chance
_CHANGED = 24.0  # grey levels
_FEW_PIXELS = 16
_COLOURS, _NEAR = 3, 32.0  # how many colours what is laid over may have, and how far a pixel may stray from them
_COVERED = 0.7  # share of the changed pixels that must have them
_MAIN = 0.2  # share of the changed pixels from which a colour counts as one of the addition
_GROWS = 2.0  # how much larger than what changed the addition may be: a black sticker on a dark photo
_BAR_DEPTH, _BAR, _ENDS = 0.25, 0.85, 0.6  # of a side; share of the bar, and of what lies next to it, in its colours


def differing(windows: Windows) -> Mask:
    """Windows [rows, columns] in which the two pictures plainly show different things."""
    strong = windows.whole & (np.maximum(windows.deviation, windows.copy_deviation) >= _TEXTURE)
    strong &= windows.likeness < _DIFFERS
    strong[[0, -1]] = strong[:, [0, -1]] = False  # where a border ends, a pixel of it may bleed in
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strong.astype(np.uint8), connectivity=8)
    large = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= _FEW_WINDOWS]
    return np.isin(labels, large)


def laid_over(
    windows: Windows, different: Mask, pictures: tuple[Floats, Floats], greys: tuple[Floats, Floats]
) -> Mask | None:
    """Return the windows [rows, columns] that something was laid over; None if what differs cannot all be that.

    `pictures` are both at the grid's size, [h, w, 3], `greys` the same [h, w] brought to one tone.
    """
    changed: Mask = np.abs(greys[0] - greys[1]) > _CHANGED  # [h, w]
    _, labels = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
    regions = [
        changed & np.isin(labels, np.unique(labels[region & changed]))
        for region in _regions(different, windows.grid.cell, changed.shape)
    ]
    hidden = []
    for picture in pictures:  # in one of the two, not here in one and there in the other: a thing that moved
        additions = [_addition(picture, region) for region in regions]
        found = [addition for addition in additions if addition is not None]
        if len(found) == len(regions):
            hidden.append(cells(np.logical_or.reduce(found).astype(np.float32), windows.grid.cell) > 0)
    return min(hidden, key=np.count_nonzero, default=None)


def _regions(different: Mask, cell: int, size: tuple[int, ...]) -> Iterator[Mask]:
    """The pixels [h, w] of each group of neighbouring windows, of two by two cells each."""
    count, labels = cv2.connectedComponents(different.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        pixels = np.zeros(size, np.bool_)
        for row, column in zip(*np.nonzero(labels == label), strict=True):
            pixels[row * cell : (row + 2) * cell, column * cell : (column + 2) * cell] = True
        yield pixels


def _addition(picture: Floats, changed: Mask) -> Mask | None:
    """The pixels of what was laid over `picture` where it changed, None if that is not a thing of few flat colours."""
    if int(changed.sum()) < _FEW_PIXELS:
        return None
    core = cv2.erode(changed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    core = core if int(core.sum()) >= _FEW_PIXELS else changed  # edges are mixed with what is below
    colours = _main_colours(picture[core])
    near = _near(picture[core], colours)  # [n, k]
    if float(near.any(axis=1).mean()) < _COVERED:
        return None
    # A ground that shows where something has gone goes on beyond what changed; a sticker ends there.
    main = colours[near.mean(axis=0) >= _MAIN]
    alike = np.asarray(_near(picture.reshape(-1, 3), main).any(axis=1).reshape(changed.shape))  # [h, w]
    _, labels = cv2.connectedComponents(alike.astype(np.uint8), connectivity=8)
    grown = alike & np.isin(labels, np.unique(labels[core & alike]))
    if int(grown.sum()) <= _GROWS * int(changed.sum()):
        return np.asarray(grown | changed)
    return _bar(alike | changed, changed)


def _bar(covered: Mask, changed: Mask) -> Mask | None:
    """The strip along an edge in which all that changed lies, if it is covered from end to end, and no further."""
    for turn in range(4):
        bar, inside = np.rot90(covered, turn), np.rot90(changed, turn)
        depth = int(np.flatnonzero(inside.any(axis=1))[-1]) + 1  # from the upper edge
        if depth <= _BAR_DEPTH * len(bar) and bar[:depth].mean() >= _BAR and bar[depth + 2 : depth + 6].mean() <= _ENDS:
            strip = np.zeros_like(covered)
            np.rot90(strip, turn)[:depth] = True
            return strip
    return None


def _main_colours(pixels: Floats) -> Floats:
    """The most frequent colours of [n, 3], as the means of cubes 32 levels wide: [k, 3]."""
    cubes = (pixels / 32).astype(np.int32).clip(0, 7) @ np.array([64, 8, 1])  # [n]
    counts = np.bincount(cubes, minlength=512)
    best = np.argsort(-counts, kind="stable")[:_COLOURS]
    return np.stack([pixels[cubes == cube].mean(axis=0) for cube in best if counts[cube]])


def _near(pixels: Floats, colours: Floats) -> Mask:
    """[n, 3] and [k, 3] -> [n, k]: which pixels have which colours."""
    return np.asarray(np.abs(pixels[:, None] - colours[None]).max(axis=2) <= _NEAR)
