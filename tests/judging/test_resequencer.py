"""Whose turn it is: in order of number, but nobody waits long for one that is slow."""

from twinwatch.judging.resequencer import Resequencer


def turns(line: Resequencer[str], now_s: float) -> list[tuple[str, set[int]]]:
    found = []
    while (turn := line.turn(now_s)) is not None:
        found.append((turn[0], set(turn[1])))
    return found


def test_everybody_has_a_turn_in_order_of_number() -> None:
    line: Resequencer[str] = Resequencer(1.0)
    for number in (2, 0, 1):
        line.join(number, 10 + number, str(number), 0.0)
    assert turns(line, 0.0) == [("0", set()), ("1", set()), ("2", set())]


def test_one_that_is_slow_is_waited_for_and_then_overtaken_and_told_by_whom() -> None:
    line: Resequencer[str] = Resequencer(1.0)
    assert line.until_turn_s(0.0) is None
    line.join(1, 11, "1", 0.0)
    line.join(3, 13, "3", 0.5)
    assert (turns(line, 0.9), line.until_turn_s(0.75)) == ([], 0.25)
    assert turns(line, 1.0) == [("1", set())]
    line.join(2, 12, "2", 1.2)
    assert turns(line, 1.4) == []
    assert turns(line, 1.5) == [("2", set()), ("3", set())]
    line.join(0, 10, "0", 9.0)
    assert turns(line, 9.0) == [("0", {11, 12, 13})]
    line.join(4, 14, "4", 9.0)
    assert turns(line, 9.0) == [("4", set())]
