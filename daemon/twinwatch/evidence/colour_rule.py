"""One rule for all colours of a picture, as an editor applies it, fitted to two aligned pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twinwatch.evidence.arrays import Floats, Mask
from twinwatch.evidence.levels import ColourRuleLevels
from twinwatch.evidence.window_stats import channel_max

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow


@dataclass(frozen=True, slots=True)
class ColourRule:
    """colour -> gains * mix ^ gamma + offsets, clipped to 0..255, where mix is of the colour and its grey."""

    gains: Floats  # [3]
    offsets: Floats  # [3]
    gamma: float
    saturation: float  # share of the colour in the mix: 0 is grey
    undoes: bool  # maps the copy to the original, not the original to the copy

    def equalize(self, base: Floats, warped: Floats) -> tuple[Floats, Floats]:
        """Bring an original and a copy, [..., 3] in 0..255, to the colours of one of them."""
        return (base, self._apply(warped)) if self.undoes else (self._apply(base), warped)

    def _apply(self, colours: Floats) -> Floats:
        mixed = _mix(colours, self.saturation, self.gamma)
        return np.asarray(np.clip(self.gains * mixed + self.offsets, 0, 255), np.float32)


def fit_colour_rule(
    smooth: tuple[Floats, Floats], sharp: tuple[Floats, Floats], clear: Mask, levels: ColourRuleLevels
) -> ColourRule | None:
    """Return the rule that maps the pixels of one picture to those of the other with the smallest residual.

    `smooth` and `sharp` are pixels [n, 3] of the original and of the copy. The rule is fitted to the `smooth` ones
    that are `clear` [n, 3] of clipping. The residual is measured at the `sharp` ones, clipped where an editor clips.
    None where no rule fits.
    """
    if not (clear.sum(axis=0) >= levels.min_pixels).any():
        clear = np.ones_like(clear)  # a drawing in black and white: all of it may be clipped, and hardly anything is
    best: tuple[float, ColourRule] | None = None
    for saturation, gamma in _candidates(levels):
        for undoes in (False, True):
            x, y = smooth[::-1] if undoes else smooth
            fitted = _fit(x, y, clear, (saturation, gamma), levels)
            if fitted is None:
                continue
            rule = ColourRule(*fitted, gamma, saturation, undoes)
            ours, theirs = rule.equalize(*sharp)
            residual = np.minimum(channel_max(np.abs(ours - theirs)), levels.max_counted_residual)  # [n]
            if best is None or residual.mean() < levels.max_better_share * best[0]:
                best = float(residual.mean()), rule
        if best is not None and _is_sufficient(best[1], smooth, clear, levels):
            break
    return None if best is None else best[1]


def _is_sufficient(rule: ColourRule, smooth: tuple[Floats, Floats], clear: Mask, levels: ColourRuleLevels) -> bool:
    """Whether the residual is so small that no other rule need be tried."""
    ours, theirs = rule.equalize(*smooth)
    residual = np.abs(ours - theirs)[clear.all(axis=1)].max(axis=1)  # [m]
    if len(residual) < levels.min_pixels:
        return False
    return float(np.quantile(residual, levels.sufficient_quantile)) <= levels.sufficient_residual


def _candidates(levels: ColourRuleLevels) -> Iterator[tuple[float, float]]:
    """Saturation and gamma, the likelier first."""
    yield from ((saturation, 1.0) for saturation in levels.saturations)
    yield from ((saturation, gamma) for gamma in levels.gammas for saturation in levels.gamma_saturations)


def _fit(
    x: Floats, y: Floats, clear: Mask, mix: tuple[float, float], levels: ColourRuleLevels
) -> tuple[Floats, Floats] | None:
    """Gains and offsets [3] that map the mixed colours [n, 3] to those of the other picture; None if no editor's.

    Least squares for each channel, repeated without the worst pixels. `mix` is saturation and gamma.
    """
    saturation, gamma = mix
    # Channel by channel in one piece each, [3, n], which numpy sums ten times as fast.
    mixed, target, kept = (np.ascontiguousarray(each.T, np.float32) for each in (_mix(x, saturation, gamma), y, clear))
    known = kept.sum(axis=1) >= levels.min_pixels  # [3]
    if not known.any():
        return None
    gains, offsets = np.ones(3, np.float32), np.zeros(3, np.float32)
    for _ in range(levels.fit_rounds):
        count = np.maximum(kept.sum(axis=1), 1)
        mean, other_mean = (mixed * kept).sum(axis=1) / count, (target * kept).sum(axis=1) / count
        centred = (mixed - mean[:, None]) * kept
        gains = (centred * target).sum(axis=1) / np.maximum((centred * centred).sum(axis=1), 1e-3)
        offsets = other_mean - gains * mean
        residual = np.abs(gains[:, None] * mixed + offsets[:, None] - target)  # [3, n]
        limit = np.maximum(
            levels.max_residual_ratio * (residual * kept).sum(axis=1) / count, levels.min_outlier_residual
        )
        kept *= residual <= limit[:, None]
    if not known.all():  # a channel that was clipped altogether follows the others
        gains, offsets = np.full(3, gains[known].mean()), np.full(3, offsets[known].mean())
    least, most = levels.gain_range
    max_ratio = levels.max_gain_ratio if saturation == 1 else levels.max_gain_ratio_desaturated
    if gains.min() < least or gains.max() > most or gains.max() > max_ratio * gains.min():
        return None
    return np.asarray(gains, np.float32), np.asarray(offsets, np.float32)


def _mix(colours: Floats, saturation: float, gamma: float) -> Floats:
    mixed = colours
    if saturation != 1:
        mixed = saturation * colours + (1 - saturation) * (colours @ LUMA)[..., None]
    return mixed if gamma == 1 else np.asarray(255 * (np.clip(mixed, 0, 255) / 255) ** gamma, np.float32)
