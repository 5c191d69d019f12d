"""The daemon's own log never reaches into the work that it reports."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from twinwatch.service import logs


@pytest.fixture(autouse=True)
def configured_anew() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_full_disk_and_a_closed_stream_lose_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    logs.configure(verbose=False)
    log = structlog.get_logger("full")
    log.info("lost", path="a.jpg")
    with pytest.raises(OSError, match="No space left"):
        full.close()
    log.error("lost too")


def test_lines_are_written_with_their_level(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        logs.configure(verbose=False)
        structlog.get_logger("kept").warning("kept", path="a.jpg", absent=None)
        structlog.get_logger("kept").debug("left out")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "warning" in line
    assert line.endswith("kept path=a.jpg")
