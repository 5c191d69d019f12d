"""The brake: how much may go within a minute, or of a folder within an hour."""

from __future__ import annotations

import pytest

from twinwatch.judging import CircuitBreaker
from twinwatch.judging.circuit_breaker import FEWEST


def unasked() -> int:
    pytest.fail("how much is left in the folder is not yet of interest")


def test_one_more_than_a_minute_may_see_is_too_many() -> None:
    brake = CircuitBreaker(most_per_minute=5)
    assert [brake.count(second, unasked) for second in range(5)] == [""] * 5
    assert brake.count(59, unasked) == "6 files were moved within a minute (max_moves_per_minute)"


def test_what_is_spread_over_time_stops_nothing() -> None:
    brake = CircuitBreaker(most_per_minute=5)
    assert not any(brake.count(15.0 * number, unasked) for number in range(90))


@pytest.mark.parametrize(("remaining", "stops"), [(FEWEST - 1, True), (FEWEST, False)])
def test_more_than_its_share_of_a_folder_is_too_many(remaining: int, stops: bool) -> None:
    brake = CircuitBreaker(most_percent=50)
    assert not any(brake.count(30.0 * number, unasked) for number in range(FEWEST - 1))
    why = brake.count(30.0 * FEWEST, lambda: remaining)
    assert (why == "100 files, over 50% of the folder, were moved within an hour (max_moved_percent)") is stops


def test_what_went_more_than_an_hour_ago_no_longer_counts() -> None:
    brake = CircuitBreaker()
    assert not any(brake.count(number, unasked) for number in range(FEWEST - 1))
    assert not brake.count(3700, unasked)


def test_a_hundred_percent_is_never_exceeded() -> None:
    brake = CircuitBreaker(most_percent=100)
    assert not any(brake.count(number, lambda: 0) for number in range(2 * FEWEST))


def test_after_it_has_stopped_once_it_counts_anew() -> None:
    brake = CircuitBreaker(most_per_minute=2)
    assert [bool(brake.count(second, unasked)) for second in range(6)] == [False, False, True] * 2
