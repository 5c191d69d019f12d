"""How verdicts, statuses and checks look: plain values to tables, JSON lines or CSV. It prints nothing itself."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from twinwatch.catalog import Case
from twinwatch.checks import Check
from twinwatch.duplog import entry_of, show_path

SHORT_ID = 10
_COLUMNS = (
    "time", "id", "event", "path", "duplicate_of", "kind", "distance", "cluster", "evidence", "edit", "action",
    "quarantined_to", "sha256", "better",
)  # fmt: skip
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def case_table(cases: Iterable[Case], common: bytes = b"") -> Table:
    """A table of verdicts; `common` is the beginning of all paths that is left out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "what", "copy", "original", "distance", "evidence", "state"):
        table.add_column(name, overflow="fold", justify="right" if name in ("distance", "evidence") else "left")
    for case in cases:
        table.add_row(
            case.id[:SHORT_ID],
            what_it_is(case),
            _short(case.root, case.path, common),
            _short(case.original_root, case.original_path, common),
            "" if case.distance is None else f"{case.distance:.3f}",
            "" if case.evidence is None else f"{case.evidence:.2f}",
            case.action if case.state == "done" else case.state,
        )
    return table


def what_it_is(case: Case) -> str:
    """One or two words: `same bytes`, or the edit that was found."""
    return "same bytes" if case.kind == "exact" else case.edit or "near copy"


def case_lines(cases: Iterable[Case]) -> str:
    """The verdicts as the duplicates log would hold them, one JSON object a line."""
    return "".join(json.dumps(entry_of(case), ensure_ascii=False) + "\n" for case in cases)


def case_csv(cases: Iterable[Case]) -> str:
    """The verdicts as CSV with a header; a name that starts like a formula is quoted, for the sake of spreadsheets."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    for case in cases:
        writer.writerow({key: _harmless(value) for key, value in entry_of(case).items()})
    return out.getvalue()


def check_table(found: Iterable[Check]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in found:
        table.add_row(Text(check.outcome, _COLOURS[check.outcome]), Text(check.what), Text(check.detail))
    return table


def status_table(status: dict[str, Any], counts: dict[str, int], pid: int | None, latched: dict[str, str]) -> Table:
    """What the daemon does and knows."""
    table = Table(box=None, pad_edge=False, show_header=False)

    def row(name: str, value: str, colour: str = "") -> None:
        table.add_row(Text(name, "bold"), Text(value, colour))

    row("daemon", f"running, process {pid}" if pid else "not running", "green" if pid else "yellow")
    if status:
        note = f" ({status['device_note']})" if status["device_note"] else ""
        row("encoder", f"{status['preset']}, bundle {status['bundle']}, on {status['device']}{note}")
        row("seen", f"{status['time']}, up since {status['started']}" if pid else f"last at {status['time']}")
    originals, copies = counts.get("kept", 0), counts.get("duplicate", 0)
    row("files", f"{originals} pictures, {copies} flagged copies, {counts.get('quarantined', 0)} in quarantine")
    row(
        "",
        f"{counts.get('restored', 0)} restored, {counts.get('unreadable', 0)} unreadable, {counts['waiting']} waiting",
    )
    for root in status.get("roots", []):
        path = root["path"]
        row(path, f"{root['action']}, {root['mode']}, {root['files']} files at the last scan")
        for trouble in filter(None, (root["away"], *root["notes"])):
            row("", trouble, "yellow")
        if path in latched:
            row("", f"quarantine is off: {latched[path]}; look into it, then `twinwatch resume {path}`", "red")
    return table


def common_folder(cases: list[Case]) -> bytes:
    """The folder that all paths lie in, with its slash; empty if that is the root folder."""
    paths = [os.path.join(root, path) for case in cases for root, path in _both(case)]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else b""
    return folder + b"/" if len(folder) > 1 else b""


def _both(case: Case) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (case.root, case.path), (case.original_root, case.original_path)


def _short(root: bytes, path: bytes, common: bytes) -> Text:
    return Text(show_path(os.path.join(root, path).removeprefix(common)))


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
