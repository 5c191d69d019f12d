"""Names what was done to a copy, for the log. The name decides nothing."""

from __future__ import annotations

from twinwatch.evidence.colours import Colours
from twinwatch.evidence.levels import EditNameLevels
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair
from twinwatch.evidence.windows import Finding


def edit_name(finding: Finding, colours: Colours, pair: Pair) -> str:
    """Return the most telling thing that was done to the copy, in one to three words.

    Geometry comes first, then what was laid over, colours, size, sharpness and tone.
    """
    return _geometric_edit(finding.windows.alignment, pair.levels.edit_name) or _visual_edit(finding, colours, pair)


def _geometric_edit(alignment: Alignment, levels: EditNameLevels) -> str:
    turn = -alignment.degrees()  # the alignment undoes what the editor did
    angle = round(abs(turn)) if abs(turn) >= levels.min_angle else 0
    turned = f"rotated {angle}" if angle == 180 else f"rotated {angle} {'right' if turn > 0 else 'left'}"
    if alignment.is_mirrored():
        return {0: "flipped", 180: "upside down"}.get(angle, f"flipped, {turned}")
    if angle:
        return turned
    original_share, copy_share = alignment.overlaps()
    if min(original_share, copy_share) >= levels.min_whole_share:
        return ""
    if copy_share >= levels.min_whole_share:
        return "cropped"
    return "bordered" if original_share >= levels.min_whole_share else "shifted"


def _visual_edit(finding: Finding, colours: Colours, pair: Pair) -> str:
    levels, windows, tone = pair.levels.edit_name, finding.windows, finding.tone
    if finding.hidden.any():
        return "captioned"
    if colours.greyed:
        return "grey"
    if colours.cast:
        return "recoloured"
    if not _is_within(max(pair.original.size) / max(pair.copy.size), levels.same_size_range):
        return "resized"
    sharpness = windows.sharpness.ratio
    coarse = windows.grid.side_px < min(levels.unblurred_side_px, max(pair.original.size))
    if coarse or not _is_within(sharpness, levels.same_sharpness_range):
        return "sharpened" if sharpness >= levels.same_sharpness_range[1] else "blurred"
    if tone is not None:
        brightness_change = abs(128 * (tone.gain - 1) + tone.offset)  # of the middle level
        if not _is_within(tone.gain, levels.same_gain_range) or brightness_change >= levels.min_brightness_change:
            return "brightness or contrast"
    chroma_ratio = (colours.copy + 1) / (colours.original + 1)
    return "recompressed" if _is_within(chroma_ratio, levels.same_chroma_range) else "recoloured"


def _is_within(value: float, between: tuple[float, float]) -> bool:
    return between[0] < value < between[1]
