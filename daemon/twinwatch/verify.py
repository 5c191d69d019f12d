"""Evidence: do the pixels of two pictures line up? Pure: no files, no clock, the same answer every time.

`align` proposes how the copy may lie on the original, `overlay` compares the two window by window, and this module
weighs what was found. A photo is compared at 256 pixels, where an edited copy agrees nearly everywhere; text at up to
1,024, and strictly, since two receipts of one shop differ only in words and figures. Nothing here decides what happens
to a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from twinwatch.align import Placement, degrees, placements, shrink
from twinwatch.overlay import Floats, Grid, Mask, Pixels, Windows, cells, correlate, lay, refined

EVIDENCE_SIDE = 1024
"""Decode both pictures with `decode_fit(data, EVIDENCE_SIDE, ...)`."""

_COPY = 0.6  # the score that counts as a copy; what each limit below is mapped to
_SURE = 0.9  # no further placement is tried from here on
_BLANK_DEVIATION = 2.0  # as decode.BLANK_DEVIATION: such pictures are copies only by equal bytes
_MIN_WINDOWS = 12  # with fewer textured windows, agreement can be chance
_FOLLOW = 0.2  # share of agreeing windows from which a placement is worth correcting

# Measured on dev: of edited photos 0.91 of the texture and more agrees (JPEG at quality 10 least), mostly over 0.95; of
# strangers at most 0.80 (one motorcycle in two colours), and 0.85 where one is blurred (one face in two rooms).
_PHOTO_SIDES = (256, 128, 64)  # a blurred picture is compared at the finest size that both resolve
_PHOTO_FEATURE_SIDE = 256  # at 208 a third is saved, but crops to a third of the picture are lost more often
# The correlation at which a window agrees, after _PHOTO_SMOOTH, by side. Blur takes away noise and detail alike, so a
# blurred copy agrees more closely and a blurred stranger too: at 64, of the nearest strangers blurred by 2.5% of the
# width, up to all of the texture is over 0.9 and 0.80 of it over 0.99; of copies 0.85 and more, but for one in forty.
_PHOTO_AGREES = {256: 0.9, 128: 0.97, 64: 0.99}
_SAME_SHAPE = 0.9  # the correlation from which a window's colour is compared
_PHOTO_SMOOTH = 1.0  # pixels; takes off JPEG's blocks, which hide agreement, and no stranger's shapes
_PHOTO_SHARE = 0.88
_STRIP = 5  # a caption or bar may hide one edge strip, up to one part in this many

# Measured on dev, windows of text: edited receipts have none below 0.6, the nearest strangers 2.5% of them.
_TEXT_FEATURE_SIDE = 640  # letters need more than shapes do
_TEXT_SIDE = 600  # pixels from which a page can be read
_TEXT_DETAIL = 0.8  # gradient a grey level: sharp or half-size text has 1.15 and more, blurred by 1% of the width 0.5
_TEXT_DIFFERS, _TEXT_LIMIT = 0.6, 0.0025  # one other line on a full page
# On a small page, or with letters lost to blur, words still have lengths; beyond that nothing tells forms apart.
_SMALL_DIFFERS, _SMALL_LIMIT = 0.9, 0.008  # strangers have 2.5% and more at 256 pixels
# Measured on dev: blurred copies have at most 0.34% of windows below 0.95, the nearest blurred strangers 6%.
_BLURRED_DIFFERS, _BLURRED_LIMIT = 0.95, 0.006
_BLURRED_DETAIL = 0.45
# A photo in which text or print takes this share must agree at full size too: a receipt on a desk.
_PRINTED_SHARE, _PRINTED_LIMIT = 0.15, 0.008
_BAR_STEP = 60  # grey levels between paper and a caption bar drawn on it

_GREY_CHROMA = 5.0  # mean chroma below which a picture is grey; JPEG leaves 1 to 3
_COLOURED = 24.0  # chroma from which a window's colour is plain to see
_SAME_HUE = 0.75  # cosine between the chromas of one hue; JPEG at quality 10 stays above 0.9
_RECOLOURED_SHARE = 0.04
_CLIPPED = 100.0  # grey levels from the middle beyond which a colour may be clipped


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well the pixels line up, 0..1 (a copy from 0.6 on), and what was done to the copy, in a word or two."""

    score: float
    edit: str


_NONE = Evidence(0.0, "")


_PHOTO_GRIDS = tuple(Grid(side, cell=8, reach=1, texture=6.0, smooth=_PHOTO_SMOOTH) for side in _PHOTO_SIDES)
_TEXT_COARSE = Grid(256, cell=8, reach=2, texture=6.0)
_TEXT_MIDDLE = Grid(512, cell=10, reach=2, texture=10.0)
_TEXT_FINE = Grid(EVIDENCE_SIDE, cell=10, reach=2, texture=10.0)
_TEXT_EXACT = replace(_TEXT_FINE, reach=1)
_TEXT_SMALL = replace(_TEXT_EXACT, smooth=0.8)
_TEXT_BLURRED = Grid(512, cell=6, reach=1, texture=8.0, sigmas=7)


def compare(original: Pixels, copy: Pixels) -> Evidence:
    """Say how surely `copy` shows the pixels of `original`, both RGB [H, W, 3] from `decode_fit(..., EVIDENCE_SIDE)`.

    Symmetric in what it accepts, not in what it calls the edit. Any shape is answered; what cannot be judged scores 0.
    """
    grey, copy_grey = _grey(original), _grey(copy)
    if min(float(grey.std()), float(copy_grey.std())) < _BLANK_DEVIATION:
        return _NONE
    text = _text_like(grey) or _text_like(copy_grey)
    printed = not text and min(_printed(grey), _printed(copy_grey)) >= _PRINTED_SHARE
    best = _NONE
    for placement in placements(grey, copy_grey, _TEXT_FEATURE_SIDE if text else _PHOTO_FEATURE_SIDE):
        windows, score = (_judge_text if text else _judge_photo)(placement, grey, copy_grey)
        if score >= _COPY and printed:
            score = min(score, _print_score(windows, grey, copy_grey))
        if score >= _COPY and _recoloured(windows, original, copy):
            score = _COPY / 2
        if score > best.score:
            best = Evidence(score, _edit(windows, original, copy))
        if best.score >= _SURE:
            break
    return best


def _judge_photo(placement: Placement, grey: Pixels, copy_grey: Pixels) -> tuple[Windows, float]:
    windows = _finest(placement, grey, copy_grey)
    share = _agreeing(windows)
    if _FOLLOW < share < _SURE + 0.05 and (corrected := refined(windows)) is not None:
        again = _finest(corrected, grey, copy_grey)
        if _agreeing(again) > share:
            windows, share = again, _agreeing(again)
    if share < _PHOTO_SHARE:
        return windows, _COPY * share / _PHOTO_SHARE
    return windows, _COPY + (1 - _COPY) * (share - _PHOTO_SHARE) / (1 - _PHOTO_SHARE)


def _finest(placement: Placement, grey: Pixels, copy_grey: Pixels) -> Windows:
    """Compare at the finest size at which the blurrier picture keeps enough of the other's detail."""
    for grid in _PHOTO_GRIDS:
        windows = correlate(placement, grey, copy_grey, grid)
        if windows.even:
            break
    return windows


def _agreeing(windows: Windows) -> float:
    """Share of the texture that agrees, 0..1."""
    counted = windows.either
    if int(counted.sum()) < _MIN_WINDOWS:
        return 0.0
    # Texture weighs by its share in its own picture, so that a flatter contrast does not make a copy weigh less.
    ours, theirs = windows.deviation * counted, windows.copy_deviation * counted  # [rows, columns]
    weight = ours / max(float(ours.sum()), 1e-6) + theirs / max(float(theirs.sum()), 1e-6)
    return _share_but_strip(weight, windows.likeness >= _PHOTO_AGREES[windows.grid.side])


def _share_but_strip(weight: Floats, agrees: Mask) -> float:
    """Share of the weight [rows, columns] that agrees, without the edge strip that hurts most: a caption, a bar."""
    agreed = weight * agrees
    total, whole = float(agreed.sum()), float(weight.sum())
    best = total / max(whole, 1e-6)
    for axis in (0, 1):
        lines, agreed_lines = weight.sum(axis=1 - axis), agreed.sum(axis=1 - axis)  # [rows] or [columns]
        for edge in (slice(None), slice(None, None, -1)):
            deepest = len(lines) // _STRIP + 1
            left = whole - np.cumsum(lines[edge])[:deepest]
            left_agreed = total - np.cumsum(agreed_lines[edge])[:deepest]
            shares = np.where(left > whole / 2, left_agreed / np.maximum(left, 1e-6), 0)
            best = max(best, float(shares.max(initial=0)))
    return best


def _print_score(windows: Windows, grey: Pixels, copy_grey: Pixels) -> float:
    """Judge what is printed in a photo at full size, less strictly than a page; 1 where it is too soft to be read."""
    for grid in (_TEXT_MIDDLE, _TEXT_FINE):
        windows = correlate(refined(windows) or windows.placement, grey, copy_grey, grid)
    windows = correlate(refined(windows) or windows.placement, grey, copy_grey, _TEXT_EXACT)
    if windows.detail < _TEXT_DETAIL:
        return 1.0
    share = 1 - _share_but_strip(windows.both.astype(np.float32), windows.likeness >= _TEXT_DIFFERS)
    return max(0.0, 1 - (1 - _COPY) * share / _PRINTED_LIMIT)


def _judge_text(placement: Placement, grey: Pixels, copy_grey: Pixels) -> tuple[Windows, float]:
    windows = correlate(placement, grey, copy_grey, _TEXT_COARSE)
    counted = windows.either
    if int(counted.sum()) < _MIN_WINDOWS or float((windows.likeness[counted] >= _COPY).mean()) < _FOLLOW:
        return windows, 0.0
    for grid in (_TEXT_MIDDLE, _TEXT_FINE):
        windows = correlate(refined(windows) or windows.placement, grey, copy_grey, grid)
    windows = correlate(refined(windows) or windows.placement, grey, copy_grey, _TEXT_EXACT)
    if windows.detail >= _TEXT_DETAIL:
        if max(grey.shape) >= _TEXT_SIDE:
            return windows, _text_score(windows, _TEXT_DIFFERS, _TEXT_LIMIT)
        windows = correlate(windows.placement, grey, copy_grey, _TEXT_SMALL)
        return windows, _text_score(windows, _SMALL_DIFFERS, _SMALL_LIMIT)
    windows = correlate(windows.placement, grey, copy_grey, _TEXT_BLURRED)
    if windows.detail >= _BLURRED_DETAIL and max(grey.shape) >= _TEXT_SIDE:
        return windows, _text_score(windows, _BLURRED_DIFFERS, _BLURRED_LIMIT)
    return windows, 0.0


def _text_score(windows: Windows, differs: float, limit: float) -> float:
    """1 where no window of text differs, 0.6 where a share `limit` of them does, 0 soon after."""
    counted = windows.both & ~_bars(windows)
    if int(counted.sum()) < _MIN_WINDOWS:
        return 0.0
    share = float((windows.likeness[counted] < differs).mean())
    return max(0.0, 1 - (1 - _COPY) * share / limit)


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


def _recoloured(windows: Windows, original: Pixels, copy: Pixels) -> bool:
    """True where the same shapes have another colour: another product. A grey copy or a stronger colour is neither."""
    ours, theirs = _chroma(windows, original, copy)  # [rows, columns, 2]
    clear = np.maximum(np.abs(windows.mean), np.abs(windows.copy_mean)) < _CLIPPED
    kept = windows.whole & clear & ~_bars(windows) & (~windows.either | (windows.likeness >= _SAME_SHAPE))
    if not kept.any():
        return False
    ours, theirs = ours[kept], theirs[kept]  # [n, 2]
    strong, copy_strong = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    if min(float(strong.mean()), float(copy_strong.mean())) < _GREY_CHROMA:
        return False
    # Hue, not strength, since brightness and contrast stretch a colour, and clip it.
    likeness = (ours * theirs).sum(axis=1) / np.maximum(strong * copy_strong, 1e-3)
    weaker, stronger = np.minimum(strong, copy_strong), np.maximum(strong, copy_strong)
    turned = (weaker >= _COLOURED) & (likeness < _SAME_HUE)
    bleached = (stronger >= 2 * _COLOURED) & (weaker < _COLOURED / 2)
    return float((turned | bleached).mean()) > _RECOLOURED_SHARE


def _chroma(windows: Windows, original: Pixels, copy: Pixels) -> tuple[Floats, Floats]:
    """Mean chroma (Cr, Cb) of both pictures in each window: each [rows, columns, 2]."""
    ours: list[Floats] = []
    theirs: list[Floats] = []
    planes = (
        np.asarray(cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2YCrCb), np.uint8) for p in (original, copy)
    )
    full, copy_full = planes
    for channel in (1, 2):
        plane = np.ascontiguousarray(full[:, :, channel])
        base, laid, _ = lay(windows.placement, plane, np.ascontiguousarray(copy_full[:, :, channel]), windows.grid.side)
        ours.append(cells(base, windows.grid.cell))
        theirs.append(cells(laid, windows.grid.cell))
    return np.stack(ours, axis=2), np.stack(theirs, axis=2)


def _edit(windows: Windows, original: Pixels, copy: Pixels) -> str:
    """Name the most telling thing that was done to the copy: where it lies, then how it looks, then its size."""
    placement = windows.placement
    turn = -degrees(placement.matrix)  # what the editor did undoes what the placement does
    mirrored = float(np.linalg.det(placement.matrix[:2, :2])) < 0
    quarter = round(abs(turn)) if abs(turn) >= 1 else 0
    if mirrored:
        return {0: "flipped", 180: "upside down"}.get(quarter, f"flipped, rotated {quarter}")
    if quarter:
        return f"rotated {quarter}"
    original_share, copy_share = placement.covered()
    if min(original_share, copy_share) < 0.97:
        if copy_share >= 0.97:
            return "cropped"
        return "bordered" if original_share >= 0.97 else "shifted"
    return _look(windows, original, copy)


def _look(windows: Windows, original: Pixels, copy: Pixels) -> str:
    counted = windows.either
    edges = np.ones_like(counted)
    edges[counted.shape[0] // _STRIP : -(counted.shape[0] // _STRIP) or None] = False
    agrees = windows.likeness >= _COPY
    if (counted & edges & ~agrees).sum() > 0.05 * counted.sum() and agrees[counted & ~edges].mean() > 0.95:
        return "captioned"
    ours, theirs = (float(np.linalg.norm(c, axis=2).mean()) for c in _chroma(windows, original, copy))
    if ours >= 2 * _GREY_CHROMA and theirs < _GREY_CHROMA:
        return "grey"
    larger = max(original.shape[:2]) / max(copy.shape[:2])
    if not 0.95 < larger < 1.05:
        return "resized"
    if not 0.6 < windows.sharpness < 1.6 or windows.grid.side < min(_PHOTO_SIDES[0], max(original.shape[:2])):
        return "blurred"
    both = windows.both
    gain = float(np.median(windows.copy_deviation[both] / windows.deviation[both])) if both.any() else 1.0
    lift = float(np.median((windows.copy_mean - windows.mean)[windows.whole]))
    return "recompressed" if 0.9 < gain < 1.12 and abs(lift) < 8 else "brightness or contrast"


def _text_like(grey: Pixels) -> bool:
    """True where thin strokes stand on one even ground and little else does: a document, a screenshot, a drawing."""
    ground, strokes, solid = _page(grey, reach=round(max(grey.shape) / 70) | 1, step=40)
    # On dev: receipts have a ground of 0.63 to 0.98, strokes of 0.02 to 0.16 and little else; photos fail on each.
    if max(grey.shape) >= 400 and ground >= 0.6 and strokes >= 0.015 and solid < 0.08:
        return True
    # Small or blurred, text is lines and patches, which a wide closing still takes away.
    ground, strokes, solid = _page(shrink(grey, 256), reach=15, step=20)
    return ground >= 0.6 and strokes >= 0.025 and solid < 0.05


def _page(grey: Pixels, reach: int, step: int) -> tuple[float, float, float]:
    """Shares of a picture that are even ground, strokes thinner than `reach` on it, and anything wider."""
    counts = np.asarray(cv2.calcHist([grey], [0], None, [256], [0, 256])).ravel() / grey.size
    near = np.convolve(counts, np.ones(31), "same")
    level = int(near.argmax())
    light = grey if level >= 128 else 255 - grey
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    strokes = float((cv2.subtract(closed, light) > step).mean())
    solid = float((cv2.absdiff(closed, np.full_like(closed, max(level, 255 - level))) > step).mean())
    return float(near.max()), strokes, solid


def _printed(grey: Pixels) -> float:
    """Share of small cells that hold strokes on even paper, whatever surrounds them."""
    small = shrink(grey, 512)
    cell, reach = 16, round(max(small.shape) / 64) | 1
    rows, columns = small.shape[0] // cell, small.shape[1] // cell
    if rows == 0 or columns == 0 or max(grey.shape) < 400:
        return 0.0
    share = 0.0
    for light in (small, 255 - small):
        closed = np.asarray(cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)), np.uint8)
        strokes = (cv2.subtract(closed, light) > 40).astype(np.float32)
        paper = closed.astype(np.float32)
        crop, size = (slice(rows * cell), slice(columns * cell)), (columns, rows)
        mean, power, filled = (
            cv2.resize(np.ascontiguousarray(plane[crop]), size, interpolation=cv2.INTER_AREA)
            for plane in (paper, paper * paper, strokes)
        )
        share = max(share, float(((power - mean * mean < 100) & (filled > 0.04) & (filled < 0.6)).mean()))
    return share


def _grey(picture: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
