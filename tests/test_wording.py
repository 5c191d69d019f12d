"""How messages say what a daemon has to do."""

from twinwatch.wording import backlog_text


def test_a_backlog_tells_pace_and_time_left_where_there_are_any() -> None:
    assert backlog_text(0, 3.5) == "0 waiting"
    assert backlog_text(20, 0.0) == "20 waiting"
    assert backlog_text(20, 2.5) == "20 waiting, 2.5 files/s, 0:00:08 left"
    assert backlog_text(1_000_000, 10.0) == "1000000 waiting, 10.0 files/s, 1 day, 3:46:40 left"
