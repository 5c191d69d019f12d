"""The bounds of rates, the evidence level that is chosen, and the sentences for an admin."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from twinwatch.calibration import Calibration, findings
from twinwatch.calibration.pairs import LEVELS, SuspectPair, count_false_alarms, lowest_level
from twinwatch.calibration.rates import Rate, trials_needed


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    assert (Rate(0, 10).low, Rate(10, 10).high) == (0, 1)
    assert Rate(0, 10).high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert Rate(10, 10).low == pytest.approx(0.025 ** (1 / 10))
    # Tabulated: 2 of 20.
    assert (Rate(2, 20).low, Rate(2, 20).high) == (pytest.approx(0.01235, abs=1e-5), pytest.approx(0.31698, abs=1e-5))


@pytest.mark.parametrize(("hits", "of"), [(0, 50), (1, 3000), (17, 90), (89, 90), (4000, 9000)])
def test_bounds_hold_the_share(hits: int, of: int) -> None:
    rate = Rate(hits, of)
    assert 0 <= rate.low <= rate.share <= rate.high <= 1
    assert math.isfinite(rate.high)


def test_as_many_trials_as_are_needed_and_not_one_more() -> None:
    needed = trials_needed(0.001)
    assert Rate(0, needed).high <= 0.001 < Rate(0, needed - 1).high


def test_the_lowest_level_that_keeps_to_the_limit_of_false_alarms() -> None:
    pairs, evidence = [(0, 1), (1, 2), (3, 4)], [0.62, 0.71, 0.97]
    assert [count_false_alarms(pairs, evidence, level) for level in (0.6, 0.65, 0.95)] == [5, 4, 2]
    assert lowest_level(pairs, evidence, max_false_alarms=5) == LEVELS[0]
    assert lowest_level(pairs, evidence, max_false_alarms=4) == 0.65
    assert lowest_level(pairs, evidence, max_false_alarms=2) == 0.75
    assert lowest_level(pairs, evidence, max_false_alarms=0) == LEVELS[-1]


def outcome(false_alarms: Rate, max_false_alarm_rate: float, *suspects: SuspectPair) -> str:
    found = Calibration(0.9, 0.6, {}, {}, false_alarms, max_false_alarm_rate, suspects, left_out=0)
    return "\n".join(findings(found))


def test_a_sample_that_is_too_small_is_called_so() -> None:
    small = outcome(Rate(0, 100), 0.001)
    assert "too small for this claim" in small and "3688 pictures" in small
    assert "too small" not in outcome(Rate(0, 5000), 0.001)
    assert "no evidence level keeps" in outcome(Rate(2, 100), 0.001)


def test_suspect_pairs_are_named_safely_and_counted() -> None:
    pair = SuspectPair(Path("a\x1b[31m.jpg"), Path("b.jpg"), 0.5, 0.98)
    told = outcome(Rate(50, 100), 1.0, *[pair] * 25)
    assert "\x1b" not in told and "b.jpg (distance 0.500, evidence 0.98)" in told
    assert told.count("would be called copies") == 20 and "and 5 pairs more" in told
