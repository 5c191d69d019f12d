"""Facts to a Verdict. Pure: it neither reads files nor knows the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "near"]
Action = Literal["flagged", "quarantined"]


@dataclass(frozen=True, slots=True)
class RootRules:
    """What the admin allows in one root, and why it is latched to flag-only, if it is."""

    quarantine: bool
    protect: bool
    latched: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a newcomer and one living original."""

    kind: Kind
    evidence: float | None  # score of the pixels, 0..1; None for equal bytes
    only_by_bytes: bool  # one of the two is blank, or holds more than the frame that was compared
    newcomer_pixels: int
    original_pixels: int
    standing: bool  # the newcomer was there before its root was first watched
    links: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A copy, what is to be done, and why it is not moved where it could have been."""

    action: Action
    better: bool
    spared: str = ""


def judge(finding: Finding, rules: RootRules, evidence_level: float) -> Decision | None:
    """Return what to do about a finding, or None where it is no copy: nothing near counts without evidence."""
    if finding.kind == "near" and (
        finding.only_by_bytes or finding.evidence is None or finding.evidence < evidence_level
    ):
        return None
    better = finding.newcomer_pixels > finding.original_pixels
    spared = _why_spared(finding, rules)
    return Decision("flagged" if spared else "quarantined", better, spared)


def _why_spared(finding: Finding, rules: RootRules) -> str:
    if not rules.quarantine:
        return "action is flag"
    if rules.protect:
        return "its folder is protected"
    if finding.standing:
        return "it stood here when the folder was first taken into the catalogue"
    if finding.links > 1:
        return "it has several hard links, moving it frees no space"
    return f"quarantine is off here: {rules.latched}" if rules.latched else ""
