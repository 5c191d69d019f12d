"""Verdicts and unreadable files as a table, as JSON lines or as CSV. The functions return text and print nothing."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from twinwatch.cli.options import ReportFormat
from twinwatch.fs import join
from twinwatch.reporting import event_of, path_fields
from twinwatch.store import Kind, UnreadableFile, Verdict, VerdictState
from twinwatch.wording import escape_controls, show_path

_SHORT_ID_LETTERS = 10
_CSV_COLUMNS = (
    "time", "id", "event", "path", "duplicate_of", "kind", "distance", "cluster", "evidence", "edit", "action",
    "quarantined_to", "restored_to", "sha256", "better",
)  # fmt: skip


def verdict_report(
    verdicts: list[Verdict], format: ReportFormat, *, scanned: bool = False, narrow: bool = False
) -> RenderableType:
    """Return the verdicts in one of the three formats.

    `scanned`: they come from `scan`. Its table has no ids and no states, since no command takes those ids and no file
    is moved. `narrow`: the table is for a narrow terminal; each original stands below its copy.
    """
    if format == "jsonl":
        return _json_lines(verdicts)
    if format == "csv":
        return _csv(verdicts)
    if not verdicts:
        return "no copies\n"
    common = _common_folder(verdicts)
    notes = [f"paths are below {show_path(common)}"] if common else []
    if any(verdict.better for verdict in verdicts):
        notes.append("better: the copy has more pixels than its original")
    return Group(_verdict_table(verdicts, common, scanned=scanned, narrow=narrow), *map(Text, notes))


def unreadable_report(files: list[UnreadableFile], format: ReportFormat) -> RenderableType:
    """Return the files that could not be read as pictures, and the reasons, in one of the three formats."""
    if format == "table":
        return _unreadable_table(files) if files else "no unreadable files\n"
    entries = [path_fields("path", file.path) | {"reason": file.reason} for file in files]
    if format == "jsonl":
        return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    out = io.StringIO()
    writer = csv.DictWriter(out, ("path", "reason"), extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: _csv_cell(value) for key, value in entry.items()} for entry in entries)
    return out.getvalue()


def _json_lines(verdicts: Iterable[Verdict]) -> str:
    """One JSON object a line, as in the duplicates log."""
    return "".join(json.dumps(event_of(verdict), ensure_ascii=False) + "\n" for verdict in verdicts)


def _csv(verdicts: Iterable[Verdict]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV_COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    for verdict in verdicts:
        writer.writerow({key: _csv_cell(value) for key, value in event_of(verdict).items()})
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    """Booleans as in JSON. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _verdict_table(verdicts: list[Verdict], common: bytes, *, scanned: bool, narrow: bool) -> Table:
    """A table of verdicts. `common`, the folder that holds all paths, is left out of each path.

    In a narrow table each original stands below its copy, and distance and evidence are left out.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    if not scanned:
        table.add_column("id", no_wrap=True)
    table.add_column("what", no_wrap=True)
    if narrow:
        table.add_column("copy, and below it the original", overflow="fold")
    else:
        table.add_column("copy", overflow="fold")
        table.add_column("original", overflow="fold")
        table.add_column("distance", justify="right", no_wrap=True)
        table.add_column("evidence", justify="right", no_wrap=True)
    if not scanned:
        table.add_column("state", no_wrap=True)
    for verdict in verdicts:
        copy, original = (show_path(path.removeprefix(common)) for path in _copy_and_original(verdict))
        places = [copy + "\n" + original] if narrow else [copy, original, *_figures(verdict)]
        cells = [_kind_text(verdict), *places]
        if not scanned:
            state = verdict.action if verdict.state is VerdictState.DONE else verdict.state
            cells = [verdict.id[:_SHORT_ID_LETTERS], *cells, state]
        table.add_row(*map(Text, cells))
    return table


def _kind_text(verdict: Verdict) -> str:
    """Return `same bytes`, the edit that was found, or `near copy`."""
    kind = "same bytes" if verdict.kind is Kind.EXACT else verdict.edit or "near copy"
    return f"{kind} (better)" if verdict.better else kind


def _figures(verdict: Verdict) -> tuple[str, str]:
    """Return distance and evidence; a verdict on equal bytes has neither."""
    return (
        "" if verdict.distance is None else f"{verdict.distance:.3f}",
        "" if verdict.evidence is None else f"{verdict.evidence:.2f}",
    )


def _common_folder(verdicts: list[Verdict]) -> bytes:
    """Return the folder that holds all paths, with a slash at its end; empty if that is the root folder."""
    paths = [path for verdict in verdicts for path in _copy_and_original(verdict)]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else b""
    return folder + b"/" if len(folder) > 1 else b""


def _copy_and_original(verdict: Verdict) -> tuple[bytes, bytes]:
    """Return the paths of the copy, where it is now or was last, and of its original."""
    copy = join(verdict.root, verdict.restored_to or verdict.path)
    return copy, join(verdict.original_root, verdict.original_path)


def _unreadable_table(files: list[UnreadableFile]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("path", overflow="fold")
    table.add_column("why")
    for file in files:
        table.add_row(Text(show_path(file.path)), Text(escape_controls(file.reason)))
    return table
