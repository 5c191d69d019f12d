"""The few flat colours of a part of a picture, if few is all it has: of captions, logos and stickers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.levels import OverlaidLevels


@dataclass(frozen=True, slots=True)
class FlatColours:
    """The main colours [k, 3] of a part of a picture, and the pixels of the whole picture in each: [k, h, w]."""

    colours: Floats
    masks: Mask


def find_flat_colours(picture: Floats, part: Mask, levels: OverlaidLevels) -> FlatColours | None:
    """Return the colours of a part [h, w] of a picture [h, w, 3], None if it has more than a few."""
    core = core_pixels(part, levels)
    colours = main_colours(picture[core], levels)
    masks = np.stack([near_colour(picture, each, levels.max_stray) for each in colours])
    flat: Mask = np.asarray(masks.any(axis=0))
    flat_or_edge = cv2.dilate(flat.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # an edge mixes two colours
    if float(flat[core].mean()) < levels.min_flat_share:
        return None
    return FlatColours(colours, masks) if float(flat_or_edge[core].mean()) >= levels.min_flat_or_edge_share else None


def core_pixels(part: Mask, levels: OverlaidLevels) -> Mask:
    """Return a part [h, w] without its edges, which are mixed with what lies below; all of it if it is all edge."""
    core: Mask = np.asarray(cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return core if int(core.sum()) >= levels.min_pixels else part


def main_colours(pixels: Floats, levels: OverlaidLevels) -> Floats:
    """Return the most frequent colours of [n, 3] that are far enough apart, most frequent first: [k, 3]."""
    cubes = (pixels / levels.colour_cube).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])  # [n]
    kinds, counts = np.unique(cubes, return_counts=True)
    found: list[Floats] = []
    for kind in kinds[np.argsort(-counts, kind="stable")]:
        colour = np.asarray(np.median(pixels[cubes == kind], axis=0), np.float32)
        if all(np.abs(colour - other).max() > levels.min_colour_distance for other in found):
            found.append(colour)
        if len(found) == levels.max_colours:
            break
    return np.stack(found)


def near_colour(picture: Floats, colour: Floats, stray: float) -> Mask:
    """Return which pixels of [h, w, 3] differ from a colour [3] by at most `stray` levels in each channel: [h, w]."""
    middle = colour.astype(np.float64)
    return np.asarray(cv2.inRange(picture, middle - stray, middle + stray) > 0)


def pixels_only_here(alike: Mask, part: Mask, unchanged: Mask) -> int:
    """Return how many of the pixels of one colour lie in a part; 0 if more lie in the unchanged rest. All [h, w]."""
    within = int((alike & part).sum())
    return within if int((alike & unchanged & ~part).sum()) <= within else 0
