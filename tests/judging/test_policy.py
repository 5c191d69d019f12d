"""Decisions: what counts as a copy, and what is never moved."""

from dataclasses import replace

import pytest

from twinwatch.judging.policy import Decision, Finding, RootRules, decide_action
from twinwatch.store import Action, Kind

NEAR = Finding(Kind.NEAR, 0.8, False, 100, 100, False, 1)
EXACT = replace(NEAR, kind=Kind.EXACT, evidence=None)
MOVE = RootRules(quarantine=True, protect=False)


def test_equal_bytes_are_a_copy_without_evidence() -> None:
    assert decide_action(EXACT, MOVE, 0.6) == Decision(Action.QUARANTINED, better=False)


def test_equal_bytes_of_a_blank_picture_are_a_copy_too() -> None:
    assert decide_action(replace(EXACT, only_by_bytes=True), MOVE, 0.6) is not None


@pytest.mark.parametrize(("evidence", "copy"), [(0.6, True), (0.59, False), (0.0, False), (None, False)])
def test_a_near_one_needs_evidence_of_the_level(evidence: float | None, copy: bool) -> None:
    assert (decide_action(replace(NEAR, evidence=evidence), MOVE, 0.6) is not None) is copy


def test_a_picture_that_must_not_be_compared_is_never_a_near_copy() -> None:
    assert decide_action(replace(NEAR, only_by_bytes=True, evidence=1.0), MOVE, 0.6) is None


@pytest.mark.parametrize(("pixels", "better"), [(101, True), (100, False), (99, False)])
def test_better_means_more_pixels_than_the_original(pixels: int, better: bool) -> None:
    decision = decide_action(replace(NEAR, new_pixels=pixels), MOVE, 0.6)
    assert decision is not None
    assert decision.better is better


@pytest.mark.parametrize(
    ("rules", "finding", "why"),
    [
        (RootRules(False, False), {}, "action is flag"),
        (RootRules(True, True), {}, "protected"),
        (MOVE, {"preexisting": True}, "stood here when the folder was first taken into the catalogue"),
        (MOVE, {"links": 2}, "hard links"),
        (RootRules(True, False, "a person must look"), {}, "a person must look"),
    ],
)
@pytest.mark.parametrize("base", [NEAR, EXACT], ids=["near", "exact"])
def test_what_is_spared_is_flagged_with_the_reason(
    base: Finding, rules: RootRules, finding: dict[str, object], why: str
) -> None:
    decision = decide_action(replace(base, **finding), rules, 0.6)  # type: ignore[arg-type]
    assert decision is not None
    assert decision.action is Action.FLAGGED
    assert why in decision.flag_reason
