"""Standard output and standard error: messages, reports and progress bars."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from twinwatch.wording import escape_controls

out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=True)

_WIDE_COLUMNS = 110
"""A terminal with fewer columns gets the narrow table of verdicts."""
_UNLIMITED_COLUMNS = 1_000_000


def print_line(console: Console, line: str) -> None:
    """Print one line that may hold a file name: Rich markup in it is shown as it is, control characters are escaped."""
    console.print(Text(escape_controls(line)))


def print_report(report: RenderableType) -> None:
    """Print a report: with colours and fitted to a terminal, as plain text to a pipe or a file."""
    if sys.stdout.isatty() and not isinstance(report, str):
        out.print(report)
    else:
        sys.stdout.write(plain_text(report))


def plain_text(report: RenderableType) -> str:
    """Return a report as text for a file or another program: lines of any length, without trailing spaces."""
    if isinstance(report, str):
        return report
    text = io.StringIO()
    Console(file=text, width=_UNLIMITED_COLUMNS, highlight=False).print(report)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def is_narrow() -> bool:
    """True if standard output is a terminal that is too narrow for the wide table of verdicts."""
    return sys.stdout.isatty() and out.width < _WIDE_COLUMNS


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on standard error inside the block, if that is a terminal.

    Each task needs the field `rate`, a text such as the one of `speed_text`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar


def speed_text(bar: Progress, task: TaskID) -> str:
    """Return the speed of a task, such as `12 files/s`; empty while it is unknown."""
    speed = bar.tasks[task].speed
    return f"{speed:.0f} files/s" if speed else ""
