"""What a calibration found, in sentences for the admin."""

from __future__ import annotations

import os

from twinwatch.calibration.measure import Calibration
from twinwatch.wording import pluralize, show_path

_PAIRS_SHOWN = 20


def findings(calibration: Calibration) -> list[str]:
    """Return the lines to print: levels, false alarms and how sure that is, suspect pairs, files left out."""
    return [*_rates(calibration), *_suspect_pairs(calibration), *_left_out(calibration)]


def _rates(calibration: Calibration) -> list[str]:
    alarms, most = calibration.false_alarms, 10_000 * calibration.max_false_alarm_rate
    lines = [
        f"nomination radius {calibration.radius:.4f}, evidence level {calibration.level:.2f}",
        f"{pluralize(alarms.hits, 'picture')} of {alarms.of} accused, each taken as new to the others: "
        f"{10_000 * alarms.share:.1f} in 10,000, with 95% confidence {10_000 * alarms.low:.1f} to "
        f"{10_000 * alarms.high:.1f}; bearable: {most:g}",
    ]
    if not calibration.limit_kept:
        lines.append("no evidence level keeps to what is bearable here; look at the pairs below")
    elif not calibration.limit_proven:
        lines.append(
            f"the sample is too small for this claim: up to {10_000 * alarms.high:.1f} in 10,000 cannot be ruled out; "
            f"{calibration.pictures_needed} pictures of which none is accused would be needed"
        )
    return lines


def _suspect_pairs(calibration: Calibration) -> list[str]:
    pairs = calibration.suspect_pairs
    if not pairs:
        return []
    lines = [
        f"  would be called copies: {show_path(os.fsencode(each.one))} and {show_path(os.fsencode(each.other))} "
        f"(distance {each.distance:.3f}, evidence {each.evidence:.2f})"
        for each in pairs[:_PAIRS_SHOWN]
    ]
    if len(pairs) > _PAIRS_SHOWN:
        lines.append(f"  and {len(pairs) - _PAIRS_SHOWN} pairs more")
    return [*lines, "a pair that truly is a picture and its copy is no mistake: take one of the two away, run again"]


def _left_out(calibration: Calibration) -> list[str]:
    if not calibration.left_out:
        return []
    return [f"{pluralize(calibration.left_out, 'file')} left out: unreadable, uniform, or the bytes of another"]
