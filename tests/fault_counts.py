"""How many faults the tests injected and how often a promise was broken: counted by test, shown as one table.

`make prove` injects them all (TWINWATCH_PROVE=1) and writes the table to a file; the ordinary run takes samples.
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
    """How many faults to inject in this run."""
    return full if PROVE else short


@dataclass
class Tally:
    """Faults of one kind. `inject` as each is injected; what raises within the block is a violation."""

    fault: str
    injected: int = 0

    def inject(self, count: int = 1) -> None:
        self.injected += count


Counting = Callable[[str], contextlib.AbstractContextManager[Tally]]


def counting_for(node: pytest.Item) -> Counting:
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
    """Return faults injected and violations by kind of fault, in the order in which they were first reported."""
    found: dict[str, tuple[int, int]] = {}
    for report in reports:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == _PROPERTY and isinstance(value, tuple | list):
                fault, injected, violations = value
                before = found.get(fault, (0, 0))
                found[fault] = before[0] + injected, before[1] + violations
    return found


def table(found: dict[str, tuple[int, int]], day: str) -> str:
    """The table in Markdown, for the README."""
    rows = [f"| {fault} | {injected:,} | {violations} |" for fault, (injected, violations) in found.items()]
    return "\n".join([f"| fault ({day}) | injected | violations |", "| --- | ---: | ---: |", *rows]) + "\n"
