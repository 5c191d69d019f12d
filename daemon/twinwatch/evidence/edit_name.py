"""Names what was done to a copy, for the log: where it lies first, then how it looks, then its size.

Decides nothing.
"""

from __future__ import annotations

import numpy as np

from twinwatch.evidence.colours import Colours
from twinwatch.evidence.transforms import Placement, degrees
from twinwatch.evidence.windows import Finding, Pair

_WHOLE = 0.97
_FINEST = 256  # pixels; a photo that had to be compared at fewer is blurred


def edit_of(finding: Finding, colours: Colours, pair: Pair) -> str:
    """Return the most telling thing that was done to the copy, in a word or three."""
    return _lie(finding.windows.placement) or _look(finding, colours, pair)


def _lie(placement: Placement) -> str:
    turn = -degrees(placement.matrix)  # what the editor did undoes what the placement does
    mirrored = float(np.linalg.det(placement.matrix[:2, :2])) < 0
    angle = round(abs(turn)) if abs(turn) >= 1 else 0
    turned = f"rotated {angle}" if angle == 180 else f"rotated {angle} {'right' if turn > 0 else 'left'}"
    if mirrored:
        return {0: "flipped", 180: "upside down"}.get(angle, f"flipped, {turned}")
    if angle:
        return turned
    original_share, copy_share = placement.covered()
    if min(original_share, copy_share) >= _WHOLE:
        return ""
    if copy_share >= _WHOLE:
        return "cropped"
    return "bordered" if original_share >= _WHOLE else "shifted"


def _look(finding: Finding, colours: Colours, pair: Pair) -> str:
    windows = finding.windows
    if finding.hidden.any():
        return "captioned"
    if colours.greyed:
        return "grey"
    if colours.cast:
        return "recoloured"
    larger = max(pair.original.size) / max(pair.copy.size)
    if not 0.95 < larger < 1.05:
        return "resized"
    if not 0.75 < windows.sharpness < 1.33 or windows.grid.side < min(_FINEST, max(pair.original.size)):
        return "sharpened" if windows.sharpness >= 1.33 else "blurred"
    tone = finding.tone
    if tone is not None and (not 0.9 < tone.gain < 1.12 or abs(128 * (tone.gain - 1) + tone.offset) >= 8):
        return "brightness or contrast"
    vivid = (colours.copy + 1) / (colours.original + 1)
    return "recompressed" if 0.8 < vivid < 1.25 else "recoloured"
