"""What was laid over a picture: a caption, a logo, a sticker, a number; and what cannot have been.

Where two pictures that line up differ plainly, one of them must show few flat colours there, of which one is found
nowhere around. Anything else is another moment or another thing: a second frame of a burst has moved, not gained a
sticker. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from twinwatch.evidence.colours import Laid
from twinwatch.evidence.windows import Floats, Mask, Windows, cells, largest, side_by_side

# Measured on dev: no window of an edited photo, whatever the edit, differs this much unless something was laid over it.
_DIFFERS = 0.5  # correlation
_TEXTURE = 10.0  # deviation in grey levels that one of the two must have
_FEW_WINDOWS = 2  # fewer, side by side, may be chance
_CHANGED = 24.0  # levels of any colour
_FEW_PIXELS = 16
_COLOURS, _APART = 3, 48.0  # how many colours what is laid over may have, and how far those lie apart
_CUBE, _NEAR = 16, 8.0  # levels: side of the cubes in which colours are counted, and how far a pixel may stray
# Shares of the changed pixels that must have these colours, and that must have them or touch them. Measured on dev,
# stickers, captions and logos have 0.85 and 0.98 and more; pieces of other photos at most 0.70 and 0.91, or 0.86 and
# 0.98 where those show plain cloth.
_FLAT, _EDGED = 0.7, 0.95
_OWN, _FEW_OWN = 0.02, 8  # share and number of the changed pixels from which a colour counts as one of the addition
_BAR_DEPTH, _BAR, _ENDS = 0.25, 0.9, 0.7  # of a side; share of the bar, and of what lies next to it, in its colours
_BARE = 0.85  # share of the changed pixels that must be bare ground in the one picture and ink in the other
_INKED, _ASTRAY, _THIN = 0.9, 0.35, 3.5  # quantile of full ink; how far off its colour; half a stroke in pixels
_BETWEEN = 20.0  # levels that a mix of two colours may lie off the line between them
_RECTANGULAR, _COVERS, _WITHIN = 0.85, 0.5, 0.97  # of its rectangle, of it that changed, of the change beneath it
_FEW_INKED = 4  # pixels


def differing(windows: Windows) -> Mask:
    """Windows [rows, columns] in which the two pictures plainly show different things."""
    strong = windows.whole & (np.maximum(windows.deviation, windows.copy_deviation) >= _TEXTURE)
    strong &= windows.likeness < _DIFFERS
    strong[[0, -1]] = strong[:, [0, -1]] = False  # where a border ends, a pixel of it may bleed in
    return side_by_side(strong, _FEW_WINDOWS)


def laid_over(windows: Windows, different: Mask, laid: Laid, bearable: Callable[[Mask], bool]) -> Mask | None:
    """Return the windows [rows, columns] that something was laid over.

    None if what differs cannot all be that, or would hide more than is `bearable`.
    """
    changed: Mask = largest(np.abs(laid.apart())) > _CHANGED  # [h, w]
    regions = list(_regions(changed, different, windows.grid.cell))
    # Whatever was laid over covers all that changed there, which of most strangers is too much.
    least = np.any([_under(region, windows) for region in regions], axis=0)
    if not bearable(least):
        return None
    hidden = []
    for picture, other in ((laid.base, laid.laid), (laid.laid, laid.base)):
        # In one of the two, not here in one and there in the other: that is a thing that moved.
        covered = _additions(picture, other, regions)
        if covered is not None:
            hidden.append(_under(covered, windows))
    smallest = min(hidden, key=np.count_nonzero, default=None)
    return smallest if smallest is not None and bearable(smallest) else None


def _under(covered: Mask, windows: Windows) -> Mask:
    """The windows [rows, columns] of which some pixels [h, w] are covered."""
    return cells(covered.astype(np.float32), windows.grid.cell) > 0


def _regions(changed: Mask, different: Mask, cell: int) -> Iterator[Mask]:
    """The pixels [h, w] that changed, by group of neighbouring windows that differ, of two by two cells each."""
    near = cv2.dilate(different.astype(np.uint8), np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    for label in range(1, count):
        pixels = np.zeros(changed.shape, np.bool_)
        for row, column in zip(*np.nonzero((labels == label) & different), strict=True):
            pixels[row * cell : (row + 2) * cell, column * cell : (column + 2) * cell] = True
        yield _touching(changed, pixels)


def _additions(picture: Floats, other: Floats, regions: list[Mask]) -> Mask | None:
    """The pixels of all that was laid over `picture`, None where one of the regions shows something else, or none."""
    covered = None
    unchanged = ~np.any(regions, axis=0)  # [h, w]
    for region in regions:
        addition = _addition(picture, other, region, unchanged)
        if addition is None:
            return None
        covered = addition if covered is None else covered | addition
    return covered


def _addition(picture: Floats, other: Floats, changed: Mask, unchanged: Mask) -> Mask | None:
    """The pixels of what was laid over `picture` where it changed, None if that is not a thing of few flat colours.

    `unchanged` are those that changed nowhere.
    """
    if int(changed.sum()) < _FEW_PIXELS:
        return None
    plate = _plate(picture, changed, unchanged)
    if plate is not None:
        return plate
    flat = _flat(picture, changed)
    if flat is None:
        return changed if _ink(picture, other, changed) else None
    own = _own(flat, changed, unchanged)
    if not own.any():
        return _strip(flat, changed)
    under = _flat(other, changed)
    # Two things of flat colours in one place are two drawings, or one that moved by less than its size.
    return None if under is not None and _own(under, changed, unchanged).any() else np.asarray(own | changed)


def _plate(picture: Floats, changed: Mask, unchanged: Mask) -> Mask | None:
    """The pixels of a plate that all that changed lies in, a logo's: a filled rectangle, written on in its own ink.

    Its ground may be white like much else; a tile among tiles has no ink of its own, and a chessman another shape.
    """
    ground = _main_colours(picture[_core(changed)])[0]
    alike = _near(picture, ground, _NEAR)
    part = _touching(alike, alike & changed)
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    drawn = np.zeros(changed.shape, np.uint8)
    filled = cv2.drawContours(drawn, [outline], -1, 1, cv2.FILLED) > 0
    (width, height) = cv2.minAreaRect(outline)[1]
    around = cv2.dilate(filled.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    rectangular = int(filled.sum()) >= _RECTANGULAR * (width + 1) * (height + 1)
    if not rectangular or changed[filled].mean() < _COVERS or around[changed].mean() < _WITHIN:
        return None
    written = filled & ~_near(picture, ground, _APART)
    if int(written.sum()) < _FEW_OWN:
        return None
    own = sum(_nowhere_else(_near(picture, ink, _NEAR), filled, unchanged) for ink in _main_colours(picture[written]))
    return np.asarray(around | changed) if own >= _FEW_INKED else None


@dataclass(frozen=True, slots=True)
class _Flat:
    """The few colours [k, 3] that a picture has where it changed, and which pixels have which: [k, h, w]."""

    colours: Floats
    near: Mask


def _flat(picture: Floats, changed: Mask) -> _Flat | None:
    """None where what changed has more than a few colours."""
    core = _core(changed)
    colours = _main_colours(picture[core])
    near = np.stack([_near(picture, each, _NEAR) for each in colours])
    flat: Mask = np.asarray(near.any(axis=0))
    edged = cv2.dilate(flat.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # with what an edge mixes
    few = float(flat[core].mean()) >= _FLAT and float(edged[core].mean()) >= _EDGED
    return _Flat(colours, near) if few else None


def _core(changed: Mask) -> Mask:
    """What changed without its edges, which are mixed with what is below; or all, if that is all edge."""
    core: Mask = np.asarray(cv2.erode(changed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return core if int(core.sum()) >= _FEW_PIXELS else changed


def _own(flat: _Flat, changed: Mask, unchanged: Mask) -> Mask:
    """The pixels of the colours that are found hardly anywhere where the picture has not changed.

    A ground that shows where something has gone goes on beyond that, and a chessman is one of many.
    """
    covered = np.zeros_like(changed)
    for number, (colour, alike) in enumerate(zip(flat.colours, flat.near, strict=True)):
        enough = _nowhere_else(alike, changed, unchanged) >= max(_OWN * int(changed.sum()), _FEW_OWN)
        if enough and not _mixed(colour, np.delete(flat.colours, number, axis=0)):
            covered |= alike
    return covered


def _nowhere_else(alike: Mask, part: Mask, unchanged: Mask) -> int:
    """How many of the pixels of one colour, all [h, w], lie in a part; 0 where as many lie beyond what changed."""
    within = int((alike & part).sum())
    return within if int((alike & unchanged & ~part).sum()) <= within else 0


def _mixed(colour: Floats, others: Floats) -> bool:
    """True for a colour [3] between two of the others [k, 3]: their edge, and no ink of its own."""
    for one, other in itertools.combinations(others, 2):
        along = other - one
        share = float(np.clip((colour - one) @ along / max(float(along @ along), 1e-6), 0, 1))
        if float(np.abs(one + share * along - colour).max()) <= _BETWEEN:
            return True
    return False


def _strip(flat: _Flat, changed: Mask) -> Mask | None:
    """The bar along an edge in which all that changed lies, if its colours cover it from end to end, and no further.

    A black caption below a dark photo has no edge of its own.
    """
    covered = flat.near.any(axis=0) | changed
    for turn in range(4):
        bar, inside = np.rot90(covered, turn), np.rot90(changed, turn)
        depth = int(np.flatnonzero(inside.any(axis=1))[-1]) + 1  # from the upper edge
        if depth <= _BAR_DEPTH * len(bar) and bar[:depth].mean() >= _BAR and bar[depth + 2 : depth + 6].mean() <= _ENDS:
            strip = np.zeros_like(covered)
            np.rot90(strip, turn)[:depth] = True
            return strip
    return None


def _ink(picture: Floats, other: Floats, changed: Mask) -> bool:
    """True for thin strokes of one colour on what is bare ground in the other picture: letters, all edge."""
    ground = np.median(other[changed], axis=0)  # [3]
    bare = np.abs(other[changed] - ground).max(axis=1) <= _NEAR
    ink = picture[changed] - ground  # [n, 3]
    strength = np.linalg.norm(ink, axis=1)
    colour = ink[strength >= np.quantile(strength, _INKED)].mean(axis=0)
    colour /= max(float(np.linalg.norm(colour)), 1e-6)
    astray = np.abs(ink - (ink @ colour)[:, None] * colour).max(axis=1) > _ASTRAY * strength
    width = float(cv2.distanceTransform(changed.astype(np.uint8), cv2.DIST_L2, 3).max())
    return bool(bare.mean() >= _BARE and astray.mean() <= 1 - _BARE and width <= _THIN)


def _near(picture: Floats, colour: Floats, stray: float) -> Mask:
    """Which pixels of [h, w, 3] have a colour [3], give or take so many levels."""
    middle = colour.astype(np.float64)
    return np.asarray(cv2.inRange(picture, middle - stray, middle + stray) > 0)


def _touching(whole: Mask, part: Mask) -> Mask:
    """The pieces [h, w] of `whole` of which some lies in `part`."""
    count, labels = cv2.connectedComponents(whole.astype(np.uint8), connectivity=8)
    touched = np.zeros(count, np.bool_)
    touched[labels[whole & part]] = True
    return np.asarray(touched[labels])


def _main_colours(pixels: Floats) -> Floats:
    """The most frequent colours of [n, 3] that lie apart: [k, 3]."""
    cubes = (pixels / _CUBE).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])  # [n]
    kinds, counts = np.unique(cubes, return_counts=True)
    found: list[Floats] = []
    for kind in kinds[np.argsort(-counts, kind="stable")]:
        colour = np.asarray(np.median(pixels[cubes == kind], axis=0), np.float32)
        if all(np.abs(colour - other).max() > _APART for other in found):
            found.append(colour)
        if len(found) == _COLOURS:
            break
    return np.stack(found)
