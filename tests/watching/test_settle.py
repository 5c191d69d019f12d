"""When a file has settled, by a clock that the tests turn."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from twinwatch.fs import FileIdentity
from twinwatch.watching import Settler

NOW_NS = 1_700_000_000 * 10**9
FRESH = FileIdentity(1, 2, 100, NOW_NS, NOW_NS, 1)
OLD = replace(FRESH, mtime_ns=NOW_NS - 10**12, ctime_ns=NOW_NS - 10**12)


def settled(settler: Settler[str], now_s: float, facts: dict[str, FileIdentity]) -> list[str]:
    return [key for key, _ in settler.due(now_s, facts.get)]


def test_a_file_that_is_old_already_has_settled_at_once() -> None:
    settler = Settler[str](2)
    assert settler.offer("a", OLD, 0, NOW_NS)
    assert len(settler) == 0
    assert settler.next_check_s() is None


@pytest.mark.parametrize(("age_ns", "at_once"), [(2 * 10**9 - 1, False), (2 * 10**9, True)])
def test_old_is_as_old_as_the_settling_time(age_ns: int, at_once: bool) -> None:
    seen = replace(FRESH, mtime_ns=NOW_NS - age_ns, ctime_ns=NOW_NS - age_ns)
    assert Settler[str](2).offer("a", seen, 0, NOW_NS) is at_once


@pytest.mark.parametrize("later", ["mtime_ns", "ctime_ns"])
def test_the_later_of_both_times_counts(later: str) -> None:
    assert not Settler[str](2).offer("a", replace(OLD, **{later: NOW_NS}), 0, NOW_NS)


def test_a_fresh_file_settles_once_it_was_still() -> None:
    settler = Settler[str](2)
    assert not settler.offer("a", FRESH, 10.0, NOW_NS)
    assert settler.next_check_s() == 12.0
    assert settled(settler, 11.99, {"a": FRESH}) == []
    assert list(settler.due(12.0, {"a": FRESH}.get)) == [("a", FRESH)]
    assert len(settler) == 0
    assert settled(settler, 20.0, {"a": FRESH}) == []


def test_a_file_that_changed_waits_again() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 10.0, NOW_NS)
    grown = replace(FRESH, size_bytes=200)
    assert settled(settler, 12.0, {"a": grown}) == []
    assert settler.next_check_s() == 14.0
    assert settled(settler, 13.9, {"a": grown}) == []
    assert list(settler.due(14.0, {"a": grown}.get)) == [("a", grown)]


@pytest.mark.parametrize("changed", ["size_bytes", "mtime_ns", "ctime_ns", "inode", "device"])
def test_each_fact_counts_as_a_change(changed: str) -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 10.0, NOW_NS)
    assert settled(settler, 12.0, {"a": replace(FRESH, **{changed: getattr(FRESH, changed) + 1})}) == []
    assert len(settler) == 1


def test_an_offer_of_a_changed_file_starts_the_wait_again() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 10.0, NOW_NS)
    touched = replace(FRESH, mtime_ns=NOW_NS + 10**9)
    assert not settler.offer("a", touched, 11.0, NOW_NS + 10**9)
    assert settler.next_check_s() == 13.0
    assert settled(settler, 12.5, {"a": touched}) == []
    assert settled(settler, 13.0, {"a": touched}) == ["a"]


def test_an_offer_without_a_change_does_not() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 10.0, NOW_NS)
    settler.offer("a", FRESH, 11.5, NOW_NS + 1_500_000_000)
    assert len(settler) == 1
    assert settler.next_check_s() == 12.0


def test_an_offer_of_a_settled_file_ends_the_wait() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 10.0, NOW_NS)
    assert settler.offer("a", FRESH, 13.0, NOW_NS + 3 * 10**9)
    assert settled(settler, 20.0, {"a": FRESH}) == []  # or it would be judged twice


def test_a_time_in_the_future_is_watched_not_believed() -> None:
    settler = Settler[str](2)
    ahead = replace(FRESH, mtime_ns=NOW_NS + 10**15)
    assert not settler.offer("a", ahead, 0.0, NOW_NS)
    assert settled(settler, 2.0, {"a": ahead}) == ["a"]


def test_a_file_that_vanished_is_forgotten() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 0.0, NOW_NS)
    settler.offer("b", FRESH, 0.0, NOW_NS)
    assert settled(settler, 2.0, {"b": FRESH}) == ["b"]
    assert len(settler) == 0


def test_files_wait_each_on_their_own() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 0.0, NOW_NS)
    settler.offer("b", FRESH, 1.0, NOW_NS)
    assert settler.next_check_s() == 2.0
    assert settled(settler, 2.5, {"a": FRESH, "b": FRESH}) == ["a"]
    assert settler.next_check_s() == 3.0


def test_without_a_settling_time_nothing_of_the_past_waits() -> None:
    assert Settler[str](0).offer("a", FRESH, 0.0, NOW_NS)


def test_it_is_full_at_its_capacity() -> None:
    settler = Settler[str](2, capacity=2)
    settler.offer("a", FRESH, 0.0, NOW_NS)
    assert not settler.full()
    settler.offer("b", FRESH, 0.0, NOW_NS)
    assert settler.full()
    assert settled(settler, 2.0, {"a": FRESH, "b": FRESH}) == ["a", "b"]
    assert not settler.full()


def test_a_file_offered_while_due_runs_is_not_lost() -> None:
    settler = Settler[str](2)
    settler.offer("a", FRESH, 0.0, NOW_NS)
    for _key, _seen in settler.due(2.0, {"a": FRESH}.get):
        settler.offer("b", FRESH, 2.0, NOW_NS)
    assert settled(settler, 4.0, {"b": FRESH}) == ["b"]


@given(st.lists(st.tuples(st.floats(0.01, 5), st.booleans()), min_size=1, max_size=30))
def test_nothing_settles_sooner_than_two_seconds_after_it_was_written(steps: list[tuple[float, bool]]) -> None:
    settler = Settler[str](2)
    now_s, written_s, current = 0.0, 0.0, FRESH
    settler.offer("a", current, now_s, NOW_NS)
    for step_s, written in steps:
        now_s += step_s
        if written:
            written_s, current = now_s, replace(current, size_bytes=current.size_bytes + 1)
            settler.offer("a", current, now_s, NOW_NS)
        done = settled(settler, now_s, {"a": current})
        assert bool(done) == (now_s >= written_s + 2)
        if done:
            return
