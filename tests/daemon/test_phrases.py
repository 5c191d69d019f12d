"""How messages say what a daemon has to do."""

from twinwatch.phrases import backlog


def test_a_backlog_tells_pace_and_time_left_where_there_are_any() -> None:
    assert backlog(0, 3.5) == "0 waiting"
    assert backlog(20, 0.0) == "20 waiting"
    assert backlog(20, 2.5) == "20 waiting, 2.5 files/s, 0:00:08 left"
    assert backlog(1_000_000, 10.0) == "1000000 waiting, 10.0 files/s, 1 day, 3:46:40 left"
