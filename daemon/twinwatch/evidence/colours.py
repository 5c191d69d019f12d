"""Are the colours those of the original, or of another thing of the same shape? Pure.

An editor changes the colours of a whole picture by one rule; the same product in another colour is another product.
So one rule is sought that takes the one picture's colours to the other's, and what it leaves over speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.overlay import Finding, Floats, Mask, Pair, Windows, cells, evenly_sharp, lay

_SAME_SHAPE = 0.9  # the correlation from which a window's colour is believed
_GREY = 5.0  # mean chroma below which a picture is grey; JPEG leaves 1 to 3
_CLIPPED, _CUT = 4.0, 0.02  # levels from black or white that may have been cut off; weight of such pixels nearby
_FEW_WINDOWS = 12
_PIXELS, _SMOOTH = 400, 1.5  # how many pixels of each sort are asked for the rule; blur against noise
_FEW = 30
_ROUNDS = 3
_BETTER = 0.8  # share of what the likelier rule leaves over, below which a less likely one is believed
_NEARLY_ALL, _WELL = 0.98, 8.0  # a rule that misses so many pixels by no more levels needs no better
_MOST_MISSED = 20.0  # levels; a pixel that misses by more says no more
_SATURATIONS = (1.0, 0.0, 0.5, 0.75, 1.3)
_GAMMAS = (0.5, 0.7, 1.4, 2.0)
# Gains of one channel, and of one against another, of a cast and beside another saturation: beyond, it is no editor's.
_GAIN, _UNEVEN, _UNEVEN_GREY = (0.3, 2.5), 2.4, 1.25
# Levels by which three windows, side by side, may not miss; JPEG keeps grey more closely than colour.
_OTHER_LUMA, _OTHER, _SIDE_BY_SIDE = 14.0, 30.0, 3

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow
_CHROMA = np.array([[0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]], np.float32)  # Cr and Cb


@dataclass(frozen=True, slots=True)
class Recolouring:
    """One rule for all colours, cut off at 0 and 255: `gains` * (mix of a colour and its grey) ^ gamma + `offsets`."""

    gains: Floats  # [3]
    offsets: Floats  # [3]
    gamma: float
    saturation: float  # of the mix: 0 is grey
    undoes: bool  # takes the copy to the original, not the original to the copy

    def even(self, base: Floats, laid: Floats) -> tuple[Floats, Floats]:
        """Bring both pictures, [..., 3] in 0..255, to the colours of one."""
        return (base, self._applied(laid)) if self.undoes else (self._applied(base), laid)

    def _applied(self, colours: Floats) -> Floats:
        mixed = _mixed(colours, self.saturation, self.gamma)
        return np.asarray(np.clip(self.gains * mixed + self.offsets, 0, 255), np.float32)


@dataclass(frozen=True, slots=True)
class Laid:
    """Both pictures at a grid's size, equally sharp, [h, w, 3] in 0..255, and the rule that evens their colours."""

    base: Floats
    laid: Floats
    rule: Recolouring | None

    def apart(self) -> Floats:
        """How far the colours are apart after the rule: [h, w, 3], signed levels."""
        base, laid = (self.base, self.laid) if self.rule is None else self.rule.even(self.base, self.laid)
        return base - laid


@dataclass(frozen=True, slots=True)
class Colours:
    """Mean chroma of the original and of the copy, and what became of it."""

    original: float
    copy: float
    other: bool  # another thing's
    cast: bool  # the rule treats the channels unevenly

    @property
    def greyed(self) -> bool:
        """The copy alone is grey."""
        return self.original >= 2 * _GREY and self.copy < _GREY


def lay_colours(windows: Windows, pair: Pair) -> Laid:
    """Lay the copy on the original in colour and find the rule that the windows which agree have in common."""
    base, laid, _ = lay(windows.placement, pair.original.pixels, pair.copy.pixels, windows.grid)
    base, laid = evenly_sharp(base + 128, laid + 128, windows.blur)
    among = windows.both & (windows.likeness >= _SAME_SHAPE)
    if int(among.sum()) < _FEW_WINDOWS:
        among = _shaped(windows)
    height, width = base.shape[:2]
    seen = cv2.resize(among.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).ravel() > 0
    cut = np.maximum(np.abs(base - 127.5), np.abs(laid - 127.5)) > 127.5 - _CLIPPED  # [h, w, 3]
    clear = _smooth(cut.astype(np.float32)) < _CUT  # [h * w, 3]
    whole = clear.all(axis=1)
    picked = np.concatenate([_spread(np.flatnonzero(seen & whole)), _spread(np.flatnonzero(seen & ~whole))])  # [n]
    smooth = _smooth(base)[picked], _smooth(laid)[picked]  # [n, 3] each
    sharp = base.reshape(-1, 3)[picked], laid.reshape(-1, 3)[picked]
    return Laid(base, laid, _rule(smooth, sharp, clear[picked]))


def colours(finding: Finding, pair: Pair) -> Colours:
    """Compare the colours of what lines up, but for what was laid over it."""
    windows = finding.windows
    view = lay_colours(windows, pair)
    seen = _shaped(windows) & ~finding.hidden
    if not seen.any():
        return Colours(0.0, 0.0, False, False)
    chroma = [
        float(np.linalg.norm(cells(plane, windows.grid.cell)[seen] @ _CHROMA.T, axis=1).mean())
        for plane in (view.base, view.laid)
    ]
    apart = cells(view.apart(), windows.grid.cell)  # [rows, columns, 3]
    missed = (np.abs(apart @ _LUMA) > _OTHER_LUMA) | (np.abs(apart).max(axis=2) > _OTHER)  # [rows, columns]
    _, _, stats, _ = cv2.connectedComponentsWithStats((missed & seen).astype(np.uint8), connectivity=8)
    other = bool((stats[1:, cv2.CC_STAT_AREA] >= _SIDE_BY_SIDE).any())
    rule = view.rule
    cast = rule is not None and float(rule.gains.max()) > 1.15 * float(rule.gains.min())
    return Colours(chroma[0], chroma[1], other, cast)


def _shaped(windows: Windows) -> Mask:
    """Windows [rows, columns] that show the same, even if that is nothing."""
    return windows.whole & (~windows.either | (windows.likeness >= _SAME_SHAPE))


def _smooth(plane: Floats) -> Floats:
    """[h, w, 3] -> [h * w, 3]."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _SMOOTH), np.float32).reshape(-1, 3)


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[:: max(1, len(rows) // _PIXELS)]


def _rule(smooth: tuple[Floats, Floats], sharp: tuple[Floats, Floats], clear: Mask) -> Recolouring | None:
    """The rule that takes pixels [n, 3] of one picture to those of the other with the least left over.

    It is fitted to the `smooth` ones of which nothing was cut off, `clear` [n, 3]; what is left over is counted where
    an editor cuts colours off, at the `sharp` ones.
    """
    best: tuple[float, Recolouring] | None = None
    for saturation, gamma in _tries():
        for undoes in (False, True):
            x, y = smooth[::-1] if undoes else smooth
            found = _fit(x, y, clear, saturation, gamma)
            if found is None:
                continue
            rule = Recolouring(*found, gamma, saturation, undoes)
            ours, theirs = rule.even(*sharp)
            left = np.minimum(np.abs(ours - theirs).max(axis=1), _MOST_MISSED)  # [n]
            if best is None or left.mean() < _BETTER * best[0]:
                best = float(left.mean()), rule
        if best is not None and _explains(best[1], smooth, clear):
            break
    return None if best is None else best[1]


def _explains(rule: Recolouring, smooth: tuple[Floats, Floats], clear: Mask) -> bool:
    """Whether so little is left over that no other rule need be tried."""
    ours, theirs = rule.even(*smooth)
    left = np.abs(ours - theirs)[clear.all(axis=1)].max(axis=1)
    return len(left) >= _FEW and float(np.quantile(left, _NEARLY_ALL)) <= _WELL


def _tries() -> Iterator[tuple[float, float]]:
    """Saturation and gamma, the likelier first."""
    yield from ((saturation, 1.0) for saturation in _SATURATIONS)
    yield from ((saturation, gamma) for gamma in _GAMMAS for saturation in (1.0, 0.0))


def _fit(x: Floats, y: Floats, clear: Mask, saturation: float, gamma: float) -> tuple[Floats, Floats] | None:
    """Gains and offsets [3] that take the mixed colours [n, 3] to those of the other; None if no editor's."""
    mixed = _mixed(x, saturation, gamma)
    tones = [
        _tone(mixed[kept, channel], y[kept, channel]) for channel, kept in enumerate(clear.T) if int(kept.sum()) >= _FEW
    ]
    if not tones:
        return None
    if len(tones) < 3:  # a channel that was cut off altogether went the way of the others
        tones = [tuple(np.mean(tones, axis=0))] * 3
    gains, offsets = np.array(tones, np.float32).T  # [3], [3]
    uneven = _UNEVEN if saturation == 1 else _UNEVEN_GREY
    if gains.min() < _GAIN[0] or gains.max() > _GAIN[1] or gains.max() > uneven * gains.min():
        return None
    return gains, offsets


def _mixed(colours: Floats, saturation: float, gamma: float) -> Floats:
    mixed = colours
    if saturation != 1:
        mixed = saturation * colours + (1 - saturation) * (colours @ _LUMA)[..., None]
    return mixed if gamma == 1 else np.asarray(255 * (np.clip(mixed, 0, 255) / 255) ** gamma, np.float32)


def _tone(levels: Floats, copy_levels: Floats) -> tuple[float, float]:
    """Gain and offset that take levels [n] to the copy's, by least squares without the worst."""
    x, y = levels.astype(np.float64), copy_levels.astype(np.float64)
    kept = np.ones(len(x), np.bool_)
    gain, offset = 1.0, 0.0
    for _ in range(_ROUNDS):
        from_mean = x[kept] - x[kept].mean()
        gain = float((from_mean * y[kept]).sum() / max(float((from_mean**2).sum()), 1e-6))
        offset = float(y[kept].mean()) - gain * float(x[kept].mean())
        miss = np.abs(gain * x + offset - y)
        kept &= miss <= max(2.5 * float(np.median(miss[kept])), 2.0)
    return gain, offset
