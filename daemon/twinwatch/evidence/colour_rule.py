"""One rule for all colours of a picture, as an editor applies it, found from two pictures that show the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twinwatch.evidence.windows import Floats, Mask, largest

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow

_FEW = 30  # pixels
_ROUNDS, _WORST = 3, 3.0  # of leaving out what misses by so many times the mean
_BETTER = 0.8  # share of what the likelier rule leaves over, below which a less likely one is believed
_NEARLY_ALL, _WELL = 0.98, 8.0  # a rule that misses so many pixels by no more levels needs no better
_MOST_MISSED = 20.0  # levels; a pixel that misses by more says no more
_SATURATIONS = (1.0, 0.0, 0.5, 0.75, 1.3)
_GAMMAS = (0.5, 0.7, 1.4, 2.0)
# Gains of one channel, and of one against another, of a cast and beside another saturation: beyond, it is no editor's.
_GAIN, _UNEVEN, _UNEVEN_GREY = (0.3, 2.5), 2.4, 1.25


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


def find_rule(smooth: tuple[Floats, Floats], sharp: tuple[Floats, Floats], clear: Mask) -> Recolouring | None:
    """Return the rule that takes pixels [n, 3] of one picture to those of the other with the least left over, or None.

    It is fitted to the `smooth` ones of which nothing was cut off, `clear` [n, 3]; what is left over is counted where
    an editor cuts colours off, at the `sharp` ones.
    """
    if not (clear.sum(axis=0) >= _FEW).any():
        clear = np.ones_like(clear)  # a drawing in black and white: all of it may be cut off, and hardly anything is
    best: tuple[float, Recolouring] | None = None
    for saturation, gamma in _tries():
        for undoes in (False, True):
            x, y = smooth[::-1] if undoes else smooth
            found = _fit(x, y, clear, saturation, gamma)
            if found is None:
                continue
            rule = Recolouring(*found, gamma, saturation, undoes)
            ours, theirs = rule.even(*sharp)
            left = np.minimum(largest(np.abs(ours - theirs)), _MOST_MISSED)  # [n]
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
    """Gains and offsets [3] that take the mixed colours [n, 3] to those of the other; None if no editor's.

    By least squares for each channel, without the worst.
    """
    # Channel by channel in one piece each, [3, n], which numpy sums ten times as fast.
    mixed, target, kept = (
        np.ascontiguousarray(each.T, np.float32) for each in (_mixed(x, saturation, gamma), y, clear)
    )
    known = kept.sum(axis=1) >= _FEW  # [3]
    if not known.any():
        return None
    gains, offsets = np.ones(3, np.float32), np.zeros(3, np.float32)
    for _ in range(_ROUNDS):
        count = np.maximum(kept.sum(axis=1), 1)
        mean, other_mean = (mixed * kept).sum(axis=1) / count, (target * kept).sum(axis=1) / count
        centred = (mixed - mean[:, None]) * kept
        gains = (centred * target).sum(axis=1) / np.maximum((centred * centred).sum(axis=1), 1e-3)
        offsets = other_mean - gains * mean
        missed = np.abs(gains[:, None] * mixed + offsets[:, None] - target)
        kept *= missed <= np.maximum(_WORST * (missed * kept).sum(axis=1) / count, 2.0)[:, None]
    if not known.all():  # a channel that was cut off altogether went the way of the others
        gains, offsets = np.full(3, gains[known].mean()), np.full(3, offsets[known].mean())
    uneven = _UNEVEN if saturation == 1 else _UNEVEN_GREY
    if gains.min() < _GAIN[0] or gains.max() > _GAIN[1] or gains.max() > uneven * gains.min():
        return None
    return np.asarray(gains, np.float32), np.asarray(offsets, np.float32)


def _mixed(colours: Floats, saturation: float, gamma: float) -> Floats:
    mixed = colours
    if saturation != 1:
        mixed = saturation * colours + (1 - saturation) * (colours @ LUMA)[..., None]
    return mixed if gamma == 1 else np.asarray(255 * (np.clip(mixed, 0, 255) / 255) ** gamma, np.float32)
