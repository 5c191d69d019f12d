"""One picture laid on another and compared window by window, at any size; `verify` says what that is evidence of.

Windows are compared by normalised cross-correlation (Lewis 1995), which brightness and contrast leave alone, after the
sharper picture has been blurred to the other's sharpness. Pure, and never an error: what cannot be compared is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.text import reduction
from twinwatch.evidence.transforms import Matrix, Placement
from twinwatch.evidence.view import View

COPY = 0.6
"""The score from which a finding speaks for a copy."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CLIPS = 0.01  # share of pixels cut off from which that matters
_UNCLIPPED = 122.0  # levels further from the middle may be cut off
_SURE = 0.9  # correlation from which a window's levels are believed
_SEEN, _HAIR = 0.995, 1e-3  # share of a window that the copy must cover; pixels by which a turned edge is rounded
# Levels, and shares of a bar, written on and bare, that must differ by so many for it to have been laid over.
_CHANGED, _INKED, _MOSTLY = 24.0, 0.02, 0.5
_BLEEDS = 2  # pixels by which the edge of a bar may mix with what it lies on
_FEW = 12  # with fewer windows, a fit or a median says nothing
_FITS = 0.6  # correlation from which a window's shift is believed
_CRISP = 0.85  # the quantile of windows that tells what a picture resolves: text on a soft ground is a minority
_EVEN = 1.1  # this close, two pictures count as equally sharp
_EVEN_SIGMAS = (0.5, 0.8, 1.2, 1.7, 2.4, 3.4, 4.8)  # blurs tried, in pixels


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures to compare."""

    original: View
    copy: View


@dataclass(frozen=True, slots=True)
class Grid:
    """Where and how finely to compare: at `side` pixels, in windows of two by two cells, `reach` pixels astray."""

    side: int
    cell: int
    reach: int
    texture: float  # standard deviation in grey levels from which a window shows something
    smooth: float = 0.0  # blur of both pictures, in pixels
    strips: bool = False  # as for `text.reduction`
    bars: bool = False  # leave out a bar along an edge of one picture that hides a part of the other
    sigmas: int = 4  # how many blurs to try for one sharpness; beyond the first few a smaller side shows as much


@dataclass(frozen=True, slots=True)
class Windows:
    """Agreement of an original and the copy laid on it: maps [rows, columns] of overlapping windows."""

    grid: Grid
    placement: Placement
    whole: Mask  # the copy covers all of the window, and no bar any of it
    barred: Mask  # under a bar
    likeness: Floats  # -1..1, at the best shift
    shift_x: Floats  # that shift, in pixels of the grid's side
    shift_y: Floats
    mean: Floats
    copy_mean: Floats
    deviation: Floats
    copy_deviation: Floats
    sharpness: float  # of the copy, the original's being 1
    detail: float  # of the blurrier picture: gradient for each grey level of deviation, in its crisper windows
    even: bool  # a blur of the sharper picture made up the difference
    blur: float  # that blur, in pixels; of the copy where negative

    @property
    def either(self) -> Mask:
        return self.whole & (np.maximum(self.deviation, self.copy_deviation) >= self.grid.texture)

    @property
    def both(self) -> Mask:
        return self.whole & (np.minimum(self.deviation, self.copy_deviation) >= self.grid.texture)


@dataclass(frozen=True, slots=True)
class Tone:
    """copy = gain * original + offset in grey levels 0..255, cut off there."""

    gain: float
    offset: float

    def clips(self, base: Floats, laid: Floats) -> bool:
        """True where the one of higher contrast lost levels that the other still has; both [h, w], -128..127."""
        whole = self._follow(base) if self.gain >= 1 else self._undo(laid)
        return float((np.abs(whole) > 128).mean()) > _CLIPS

    def even(self, base: Floats, laid: Floats) -> tuple[Floats, Floats]:
        """Bring both to the levels of the one of higher contrast, cut off as that one is."""
        if self.gain >= 1:
            return np.clip(self._follow(base), -128, 127), laid
        return base, np.clip(self._undo(laid), -128, 127)

    def _follow(self, base: Floats) -> Floats:
        return np.asarray(self.gain * (base + 128) + self.offset - 128, np.float32)

    def _undo(self, laid: Floats) -> Floats:
        return np.asarray((laid + 128 - self.offset) / self.gain - 128, np.float32)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one placement showed: how surely it is a copy, 0..1, and in which windows something was laid over."""

    score: float
    windows: Windows
    hidden: Mask  # [rows, columns]
    tone: Tone | None = None  # of a photo


def correlate(placement: Placement, pair: Pair, grid: Grid, tone: Tone | None = None) -> Windows:
    """Lay the copy on the original, bring both to one sharpness, and correlate every window at its best shift.

    With a `tone`, both are first brought to one, so that what the brighter lost counts against neither.
    """
    base, laid, inside = lay(placement, pair, grid)
    bars = _bars(placement, pair, base, laid) if grid.bars else np.zeros_like(base)
    if tone is not None:
        base, laid = tone.even(base, laid)
    height, width = base.shape
    cell, reach = grid.cell, grid.reach
    if min(height, width) < 2 * cell:
        none, nowhere = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_)
        return Windows(grid, placement, nowhere, nowhere, none, none, none, none, none, none, none, 1.0, 0.0, True, 0.0)
    whole = cells(inside, cell) > _SEEN
    barred = cells(bars, cell) > 0
    whole &= ~barred
    ours, theirs = _moments(base, cell), _moments(laid, cell)
    sharpness, detail, even, blur = _unevenness(base, laid, ours[1], theirs[1], whole, grid)
    if blur or grid.smooth:
        base, laid = evenly_sharp(base, laid, blur)
        if grid.smooth:
            base, laid = _blurred(base, grid.smooth), _blurred(laid, grid.smooth)
        ours, theirs = _moments(base, cell), _moments(laid, cell)
    (mean, variance), (copy_mean, copy_variance) = ours, theirs
    # Replicated, so that a window at the edge may still agree at a shift.
    border = (reach, reach, reach, reach)
    padded = np.asarray(cv2.copyMakeBorder(laid, *border, cv2.BORDER_REPLICATE), np.float32)
    likeness = np.full(mean.shape, -1, np.float32)
    shift_x, shift_y = np.zeros_like(mean), np.zeros_like(mean)
    span = range(-reach, reach + 1)
    # Nearest first, so that equal agreement counts as the smaller shift.
    for x, y in sorted(((x, y) for x in span for y in span), key=lambda step: (step[0] ** 2 + step[1] ** 2, step)):
        if x or y:
            moved = np.ascontiguousarray(padded[reach + y : reach + y + height, reach + x : reach + x + width])
            moved_mean, moved_variance = _moments(moved, cell)
        else:
            moved, moved_mean, moved_variance = laid, copy_mean, copy_variance
        covariance = cells(base * moved, cell) - mean * moved_mean
        now = covariance / np.sqrt(np.maximum(variance * moved_variance, 1.0))
        better = now > likeness + 1e-3
        likeness = np.where(better, now, likeness)
        shift_x, shift_y = np.where(better, np.float32(x), shift_x), np.where(better, np.float32(y), shift_y)
    return Windows(
        grid, placement, whole, barred, likeness, shift_x, shift_y,
        mean, copy_mean, np.sqrt(variance), np.sqrt(copy_variance), sharpness, detail, even, blur,
    )  # fmt: skip


def tone_of(windows: Windows, base: Floats, laid: Floats) -> Tone | None:
    """Return the tone that the windows which agree have in common, None where too few do.

    `base` and `laid` [h, w] are what `lay` gave for these windows.
    """
    height, width = base.shape
    sure = (windows.both & (windows.likeness >= _SURE)).astype(np.uint8)
    seen = cv2.resize(sure, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    seen &= np.maximum(np.abs(base), np.abs(laid)) < _UNCLIPPED
    ours, theirs = base[seen] + 128, laid[seen] + 128  # [n]
    if len(ours) < _FEW * windows.grid.cell**2:
        return None
    gain = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean()) / max(float(ours.var()), 1e-6)
    return Tone(gain, float(theirs.mean() - gain * ours.mean())) if gain > 0 else None


def refined(windows: Windows) -> Placement | None:
    """Correct the placement by the shifts at which windows agreed best, fitted as one affine map."""
    sure = windows.both & (windows.likeness >= _FITS)
    if int(sure.sum()) < _FEW:
        return None
    grid, placement = windows.grid, windows.placement
    rows, columns = np.nonzero(sure)
    here = (np.stack([columns, rows], axis=1) + 1.0) * grid.cell  # [n, 2], centres of windows
    there = here + np.stack([windows.shift_x[sure], windows.shift_y[sure]], axis=1)
    # OpenCV seeds this RANSAC itself, with the same number each time.
    affine, _ = cv2.estimateAffine2D(
        there.astype(np.float32), here.astype(np.float32), method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if affine is None:
        return None
    scale = np.diag([1 / reduction(placement.original_size, grid.side, grid.strips)] * 2 + [1.0])
    step = np.vstack([affine, [0, 0, 1.0]])
    corrected = replace(placement, matrix=scale @ step @ np.linalg.inv(scale) @ placement.matrix)
    return corrected if corrected.plausible(whole=True) else None


def cells(values: Floats, cell: int) -> Floats:
    """Means over windows of two by two cells, one a cell: [H, W, ...] -> [H // cell - 1, W // cell - 1, ...]."""
    rows, columns = values.shape[0] // cell, values.shape[1] // cell
    small = cv2.resize(values[: rows * cell, : columns * cell], (columns, rows), interpolation=cv2.INTER_AREA)
    pairs = small[:-1] + small[1:]
    return np.asarray((pairs[:, :-1] + pairs[:, 1:]) / 4, dtype=np.float32)


def largest(values: Floats) -> Floats:
    """The largest of three channels: [..., 3] -> [...]; numpy's own `max` over an axis so short is slow."""
    return np.asarray(np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2]), np.float32)


def side_by_side(windows: Mask, least: int) -> Mask:
    """The windows [rows, columns] of those that have at least `least` of their kind in one piece, corners counted."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(windows.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False  # what is no piece at all
    return np.asarray(large[labels])


def _moments(values: Floats, cell: int) -> tuple[Floats, Floats]:
    mean = cells(values, cell)
    return mean, np.maximum(cells(values * values, cell) - mean * mean, 0)


def lay(placement: Placement, pair: Pair, grid: Grid, colour: bool = False) -> tuple[Floats, Floats, Floats]:
    """The original at a grid's size, the copy laid on it, and where the copy covers it: [h, w], in colour [h, w, 3].

    Levels are centred: -128..127. The last is always [h, w].
    """
    base = pair.original.shrunk(grid.side, grid.strips, colour)
    factor = base.shape[1] / pair.original.size[0], base.shape[0] / pair.original.size[1]
    # Reduced by area to the grain of the original first, since the warp itself would skip pixels.
    grain = float(np.sqrt(abs(np.linalg.det(placement.matrix[:2, :2])))) * factor[0]
    source = pair.copy.reduced(grain, colour)
    copy_factor = source.shape[1] / pair.copy.size[0], source.shape[0] / pair.copy.size[1]
    matrix, size = placement.at_scale(factor, copy_factor)[:2], (base.shape[1], base.shape[0])
    laid = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _centred(base), _centred(np.asarray(laid, np.uint8)), _covered(source.shape[:2], matrix, size)


def _centred(plane: NDArray[np.uint8]) -> Floats:
    """Levels around zero, where sums of squares in float32 keep their digits."""
    return np.asarray(np.subtract(plane, np.float32(128), dtype=np.float32))


def _covered(shape: tuple[int, ...], matrix: Matrix, size: tuple[int, int]) -> Floats:
    """How much of each pixel of `size` (width, height) a source [h, w] covers that `matrix` [2, 3] lays there."""
    last = np.array([size[0] - 1, size[1] - 1])
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * last @ back[:, :2].T + back[:, 2]  # [4, 2], in the source
    if corners.min() > -_HAIR and (corners < np.array([shape[1] - 1, shape[0] - 1]) + _HAIR).all():
        return np.ones(size[::-1], np.float32)
    ones = np.ones(shape, np.float32)
    return np.asarray(cv2.warpAffine(ones, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def _bars(placement: Placement, pair: Pair, base: Floats, laid: Floats) -> Floats:
    """1 where a bar was laid over what the other picture shows, else 0: [h, w]. Two lines of text are two pictures."""
    scale = np.array([base.shape[1], base.shape[0]]) / placement.original_size
    matrix = placement.matrix
    ours = [(_filled(scale * bar.corners, base), bar.written) for bar in pair.original.bars]
    theirs = [
        (_filled(scale * (bar.corners @ matrix[:2, :2].T + matrix[:2, 2]), base), bar.written) for bar in pair.copy.bars
    ]
    changed = np.abs(base - laid) > _CHANGED
    hidden = np.zeros_like(base)
    for bars, others in ((ours, theirs), (theirs, ours)):
        for bar, written in bars:
            rewritten = any(text and bool((bar & other).any()) for other, text in others)
            if bar.any() and not rewritten and changed[bar].mean() >= (_INKED if written else _MOSTLY):
                hidden[bar] = 1
    return np.asarray(cv2.dilate(hidden, np.ones((2 * _BLEEDS + 1, 2 * _BLEEDS + 1), np.uint8)), np.float32)


def _filled(corners: NDArray[np.float64], like: Floats) -> Mask:
    """The pixels of [h, w] within a quadrangle [4, 2]."""
    drawn = np.zeros(like.shape, np.uint8)
    cv2.fillConvexPoly(drawn, np.rint(corners).astype(np.int32), 1)
    return drawn > 0


def evenly_sharp(base: Floats, laid: Floats, blur: float) -> tuple[Floats, Floats]:
    """Blur the sharper of two pictures: `blur` as in `Windows`."""
    return (_blurred(base, blur) if blur > 0 else base), (_blurred(laid, -blur) if blur < 0 else laid)


def _unevenness(
    base: Floats, laid: Floats, variance: Floats, copy_variance: Floats, whole: Mask, grid: Grid
) -> tuple[float, float, bool, float]:
    """The sharpness, detail, evenness and blur of `Windows`; the variances are those of the windows."""
    seen = whole & (np.minimum(variance, copy_variance) >= grid.texture**2)
    if int(seen.sum()) < _FEW:
        return 1.0, 0.0, True, 0.0
    ours, theirs = _detail(base, variance, grid.cell), _detail(laid, copy_variance, grid.cell)  # [rows, columns]
    # The median window: a caption or a logo says nothing about the picture under it.
    sharpness = float(np.median(theirs[seen] / ours[seen]))
    detail = float(min(np.quantile(detail[seen], _CRISP) for detail in (ours, theirs)))
    sharper, target = (base, theirs) if sharpness < 1 else (laid, ours)
    excess, blur = max(sharpness, 1 / sharpness), 0.0
    for sigma in _EVEN_SIGMAS[: grid.sigmas]:
        if excess <= _EVEN:
            break
        blur = sigma
        blurred = _blurred(sharper, sigma)
        now = _detail(blurred, _moments(blurred, grid.cell)[1], grid.cell)
        excess = float(np.median(now[seen] / target[seen]))
    return sharpness, detail, excess <= _EVEN, blur if sharpness < 1 else -blur


def _detail(plane: Floats, variance: Floats, cell: int) -> Floats:
    """Gradient for each grey level of deviation, window by window: [rows, columns]."""
    across: Floats = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=1), np.float32)
    down: Floats = np.asarray(cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=1), np.float32)
    np.square(across, out=across)  # in place, as fresh megabytes take longer than the squares
    np.square(down, out=down)
    across += down
    power = np.maximum(np.sqrt(cells(across, cell)), 1e-3)
    return np.asarray(power / np.maximum(np.sqrt(variance), 1e-3), np.float32)


def _blurred(plane: Floats, sigma: float) -> Floats:
    # Replicated at the edges, as editors do it.
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
