"""Are the colours those of the original, or of another thing of the same shape? Pure.

The same product in another colour is another product. A grey version is a copy, and so is a cast: there one tone for
each channel explains every window, the ground too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinwatch.evidence.overlay import Finding, Floats, Mask, Pair, cells, lay

_SAME_SHAPE = 0.9  # the correlation from which a window's colour is compared
_GREY = 5.0  # mean chroma below which a picture is grey; JPEG leaves 1 to 3
_COLOURED = 24.0  # chroma from which a window's colour is plain to see
_SAME_HUE = 0.75  # cosine between the chromas of one hue; JPEG at quality 10 stays above 0.9
_SHARE = 0.04  # of windows that may have another hue
_CLIPPED = 27.0  # grey levels from black or white within which a colour may be cut off

_FEW = 12
_ROUNDS = 3
_EXPLAINED = 16.0  # levels by which a window may miss its tone
_ALL_BUT = 0.05  # share of windows that may miss by more
_GAIN, _UNEVEN = (0.3, 2.5), 2.4  # of one channel, and of one against another: beyond that it is another colour

_CHROMA = np.array([[0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]], np.float32)  # ITU-R 601, Cr and Cb


@dataclass(frozen=True, slots=True)
class Colours:
    """Mean chroma of the original and of the copy, and what became of it."""

    original: float
    copy: float
    other: bool  # another thing's
    cast: bool  # one tone for each channel

    @property
    def greyed(self) -> bool:
        """The copy alone is grey."""
        return self.original >= 2 * _GREY and self.copy < _GREY


def colours(finding: Finding, pair: Pair) -> Colours:
    """Compare the colours of what lines up."""
    windows = finding.windows
    base, laid, _ = lay(windows.placement, pair.original.pixels, pair.copy.pixels, windows.grid.side)  # [h, w, 3]
    ours, theirs = cells(base, windows.grid.cell) + 128, cells(laid, windows.grid.cell) + 128  # [rows, columns, 3]
    ours_chroma, theirs_chroma = ours @ _CHROMA.T, theirs @ _CHROMA.T  # [rows, columns, 2]
    strong, copy_strong = np.linalg.norm(ours_chroma, axis=2), np.linalg.norm(theirs_chroma, axis=2)
    clear = np.maximum(np.abs(windows.mean), np.abs(windows.copy_mean)) < 127 - _CLIPPED
    shaped = windows.whole & ~finding.hidden & (~windows.either | (windows.likeness >= _SAME_SHAPE))
    kept = shaped & clear
    if not kept.any():
        return Colours(float(strong.mean()), float(copy_strong.mean()), False, False)
    mean, copy_mean = float(strong[kept].mean()), float(copy_strong[kept].mean())
    if min(mean, copy_mean) < _GREY:
        return Colours(mean, copy_mean, False, False)
    # Hue, not strength, since brightness and contrast stretch a colour, and clip it.
    likeness = (ours_chroma * theirs_chroma).sum(axis=2) / np.maximum(strong * copy_strong, 1e-3)
    weaker, stronger = np.minimum(strong, copy_strong), np.maximum(strong, copy_strong)
    turned = (weaker >= _COLOURED) & (likeness < _SAME_HUE)
    bleached = (stronger >= 2 * _COLOURED) & (weaker < _COLOURED / 2)
    changed = float((turned | bleached)[kept].mean()) > _SHARE
    cast = changed and _is_cast(base + 128, ours, theirs, shaped, windows.grid.cell)
    return Colours(mean, copy_mean, changed and not cast, cast)


def _is_cast(base: Floats, ours: Floats, theirs: Floats, among: Mask, cell: int) -> bool:
    """True if one tone for each channel takes the original [h, w, 3] to the copy's window means [rows, columns, 3]."""
    tones = [_tone(ours[among][:, channel], theirs[among][:, channel]) for channel in range(3)]
    gains, offsets = np.array(tones, np.float32).T  # [3], [3]
    if gains.min() < _GAIN[0] or gains.max() > _GAIN[1] or gains.max() > _UNEVEN * gains.min():
        return False
    expected = cells(np.clip(gains * base + offsets, 0, 255), cell)  # cut off pixel by pixel, as the editor did
    missed = np.abs(expected - theirs).max(axis=2) > _EXPLAINED  # [rows, columns]
    return float(missed[among].mean()) <= _ALL_BUT


def _tone(levels: Floats, copy_levels: Floats) -> tuple[float, float]:
    """Gain and offset that take levels [n] to the copy's, by least squares without the worst and the clipped."""
    x, y = levels.astype(np.float64), copy_levels.astype(np.float64)
    kept = np.maximum(np.abs(x - 127.5), np.abs(y - 127.5)) < 120
    gain, offset = 1.0, 0.0
    for _ in range(_ROUNDS):
        if int(kept.sum()) < _FEW:
            break
        from_mean = x[kept] - x[kept].mean()
        gain = float((from_mean * y[kept]).sum() / max(float((from_mean**2).sum()), 1e-6))
        offset = float(y[kept].mean()) - gain * float(x[kept].mean())
        miss = np.abs(gain * x + offset - y)
        kept &= miss <= max(2.5 * float(np.median(miss[kept])), 2.0)
    return gain, offset
