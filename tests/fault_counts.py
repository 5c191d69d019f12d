"""The table of injected faults: how many of each kind the tests injected, and how often the daemon broke a promise.

`make prove` sets TWINWATCH_PROVE=1, injects full counts and writes the table to a file. `make test` injects a sample.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

PROVE = os.environ.get("TWINWATCH_PROVE") == "1"
_PROPERTY = "tally"


def scaled(short: int, full: int) -> int:
    """Return how many faults to inject: `full` under `make prove`, else `short`."""
    return full if PROVE else short


@dataclass
class Tally:
    """The number of injected faults of one kind. Tests call `inject` for each."""

    fault: str
    injected: int = 0

    def inject(self, count: int = 1) -> None:
        self.injected += count


Counting = Callable[[str], contextlib.AbstractContextManager[Tally]]


def counting_for(node: pytest.Item) -> Counting:
    """Return the context manager that counts for a test. A test that fails within it is one violation."""

    @contextlib.contextmanager
    def counting(fault: str) -> Iterator[Tally]:
        tally, violations = Tally(fault), 1
        try:
            yield tally
            violations = 0
        finally:
            node.user_properties.append((_PROPERTY, (fault, tally.injected, violations)))

    return counting


def totals(reports: list[pytest.TestReport]) -> dict[str, tuple[int, int]]:
    """Return the numbers of faults and of violations by kind of fault, in the order of the reports."""
    found: dict[str, tuple[int, int]] = {}
    for report in reports:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == _PROPERTY and isinstance(value, tuple | list):
                fault, injected, violations = value
                before = found.get(fault, (0, 0))
                found[fault] = before[0] + injected, before[1] + violations
    return found


def table(found: dict[str, tuple[int, int]], day: str) -> str:
    """Return the table in Markdown, dated `day`."""
    rows = [f"| {fault} | {injected:,} | {violations} |" for fault, (injected, violations) in found.items()]
    return "\n".join([f"| fault ({day}) | injected | violations |", "| --- | ---: | ---: |", *rows]) + "\n"
