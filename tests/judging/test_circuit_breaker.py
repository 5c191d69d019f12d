"""The circuit breaker: how many files may be moved within a minute, or of a folder within an hour."""

from __future__ import annotations

import pytest

from twinwatch.judging.circuit_breaker import MIN_MOVES, CircuitBreaker


def unasked() -> int:
    pytest.fail("the number of files left in the folder is not needed yet")


def test_one_more_than_a_minute_may_see_is_too_many() -> None:
    breaker = CircuitBreaker(max_per_minute=5)
    assert [breaker.record_move(second, unasked) for second in range(5)] == [""] * 5
    assert breaker.record_move(59, unasked) == "6 files were moved within a minute (max_moves_per_minute)"


def test_what_is_spread_over_time_stops_nothing() -> None:
    breaker = CircuitBreaker(max_per_minute=5)
    assert not any(breaker.record_move(15.0 * number, unasked) for number in range(90))


@pytest.mark.parametrize(("remaining", "stops"), [(MIN_MOVES - 1, True), (MIN_MOVES, False)])
def test_more_than_its_share_of_a_folder_is_too_many(remaining: int, stops: bool) -> None:
    breaker = CircuitBreaker(max_percent=50)
    assert not any(breaker.record_move(30.0 * number, unasked) for number in range(MIN_MOVES - 1))
    why = breaker.record_move(30.0 * MIN_MOVES, lambda: remaining)
    assert (why == "100 files, over 50% of the folder, were moved within an hour (max_moved_percent)") is stops


def test_what_went_more_than_an_hour_ago_no_longer_counts() -> None:
    breaker = CircuitBreaker()
    assert not any(breaker.record_move(number, unasked) for number in range(MIN_MOVES - 1))
    assert not breaker.record_move(3700, unasked)


def test_a_hundred_percent_is_never_exceeded() -> None:
    breaker = CircuitBreaker(max_percent=100)
    assert not any(breaker.record_move(number, lambda: 0) for number in range(2 * MIN_MOVES))


def test_after_it_has_stopped_once_it_counts_anew() -> None:
    breaker = CircuitBreaker(max_per_minute=2)
    assert [bool(breaker.record_move(second, unasked)) for second in range(6)] == [False, False, True] * 2
