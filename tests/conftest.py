"""Fixtures that all tests share: the shipped bundle, generated pictures, a daemon's site, and the count of faults."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from daemon_site import Site
from fault_counts import Counting, counting_for, table, totals
from twinwatch.search import bundle_path

# The tests start some hundred processes: without bytecode each would compile the whole package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

Texture = Callable[..., NDArray[np.uint8]]
Fill = Callable[[Path, int], Path]


def make_texture(number: int, width: int = 96, height: int = 72) -> NDArray[np.uint8]:
    """Return smooth blobs of colour, uint8 [height, width, 3]. Each number gives another picture."""
    rng = np.random.default_rng(number)
    cells = rng.integers(0, 256, (rng.integers(3, 9), rng.integers(3, 9), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))


def make_pictures(folder: Path, count: int) -> Path:
    """Write `count` different pictures below `folder`, some in a subfolder."""
    (folder / "more").mkdir(parents=True)
    for number in range(count):
        name = f"more/{number:03}.png" if number % 4 == 0 else f"{number:03}.jpg"
        Image.fromarray(make_texture(number)).save(folder / name, quality=92)
    return folder


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The trained bundle that ships with the daemon."""
    return bundle_path("default")


@pytest.fixture(scope="session")
def texture() -> Texture:
    return make_texture


@pytest.fixture(scope="session")
def fill() -> Fill:
    return make_pictures


@pytest.fixture
def counting(request: pytest.FixtureRequest) -> Counting:
    """A context manager that counts the faults of one kind that a test injects within it."""
    return counting_for(request.node)


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[Site]:
    """A watched share whose copies go to quarantine. Its daemon is killed at the end of the test."""
    made = Site(tmp_path, bundle)
    yield made
    made.end()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proofs", type=Path, metavar="FILE", help="write the table of injected faults to FILE")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    stats = terminalreporter.stats
    found = totals([*stats.get("passed", []), *stats.get("failed", [])])
    if not found:
        return
    terminalreporter.section("faults injected")
    for fault, (injected, violations) in found.items():
        terminalreporter.write_line(f"{injected:8,} {fault}: {violations} violations")
    target: Path | None = config.getoption("--proofs")
    if target is not None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        target.write_text(table(found, today), encoding="utf-8")
