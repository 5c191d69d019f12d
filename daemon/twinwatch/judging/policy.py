"""What to do about a copy. Pure: it neither reads files nor knows the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.store import Action, Kind


@dataclass(frozen=True, slots=True)
class RootRules:
    """What the admin allows in one root, and why its circuit breaker is open, if it is."""

    quarantine: bool
    protect: bool
    tripped: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a new file and one living original."""

    kind: Kind
    evidence: float | None  # score of the pixels, 0..1; None for equal bytes
    only_by_bytes: bool  # one of the two is blank, or holds more than the frame that was compared
    new_pixels: int
    original_pixels: int
    preexisting: bool  # the new file was there before its root was first watched
    links: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about a copy. `flag_reason` says why it is not moved where it could have been."""

    action: Action
    better: bool
    flag_reason: str = ""


def decide_action(finding: Finding, rules: RootRules, evidence_level: float) -> Decision | None:
    """Return what to do about a finding, or None where it is no copy: nothing near counts without evidence."""
    if finding.kind is Kind.NEAR and (
        finding.only_by_bytes or finding.evidence is None or finding.evidence < evidence_level
    ):
        return None
    better = finding.new_pixels > finding.original_pixels
    flag_reason = _flag_reason(finding, rules)
    return Decision(Action.FLAGGED if flag_reason else Action.QUARANTINED, better, flag_reason)


def _flag_reason(finding: Finding, rules: RootRules) -> str:
    if not rules.quarantine:
        return "action is flag"
    if rules.protect:
        return "its folder is protected"
    if finding.preexisting:
        return "it stood here when the folder was first taken into the catalogue"
    if finding.links > 1:
        return "it has several hard links, moving it frees no space"
    return f"quarantine is off here: {rules.tripped}" if rules.tripped else ""
