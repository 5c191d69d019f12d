"""Items are given out in order of number, but none waits long for a slow one."""

from twinwatch.judging.resequencer import Resequencer


def popped(ready: Resequencer[str], now_s: float) -> list[tuple[str, set[int]]]:
    found = []
    while (turn := ready.pop(now_s)) is not None:
        found.append((turn[0], set(turn[1])))
    return found


def test_items_are_given_out_in_order_of_number() -> None:
    ready: Resequencer[str] = Resequencer(1.0)
    for number in (2, 0, 1):
        ready.push(number, 10 + number, str(number), 0.0)
    assert popped(ready, 0.0) == [("0", set()), ("1", set()), ("2", set())]


def test_a_slow_one_is_waited_for_and_then_overtaken_and_comes_with_those_that_overtook_it() -> None:
    ready: Resequencer[str] = Resequencer(1.0)
    assert ready.until_pop_s(0.0) is None
    ready.push(1, 11, "1", 0.0)
    ready.push(3, 13, "3", 0.5)
    assert (popped(ready, 0.9), ready.until_pop_s(0.75)) == ([], 0.25)
    assert popped(ready, 1.0) == [("1", set())]
    ready.push(2, 12, "2", 1.2)
    assert popped(ready, 1.4) == []
    assert popped(ready, 1.5) == [("2", set()), ("3", set())]
    ready.push(0, 10, "0", 9.0)
    assert popped(ready, 9.0) == [("0", {11, 12, 13})]
    ready.push(4, 14, "4", 9.0)
    assert popped(ready, 9.0) == [("4", set())]
