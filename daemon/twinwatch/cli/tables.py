"""How verdicts, statuses and checks look: plain values to tables, JSON lines or CSV. It prints nothing itself."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from twinwatch.reporting import event_of, path_fields
from twinwatch.store import UnreadableFile, Verdict
from twinwatch.wording import backlog_text, escape_controls, pluralize, show_path

if TYPE_CHECKING:
    from twinwatch.calibration import Calibration
    from twinwatch.service import Check

Format = Literal["table", "jsonl", "csv"]

SHORT_ID = 10
NARROW = 110
"""A terminal with fewer columns than this gets the narrow table of verdicts."""

_ENDLESS = 1_000_000
_COLUMNS = (
    "time", "id", "event", "path", "duplicate_of", "kind", "distance", "cluster", "evidence", "edit", "action",
    "quarantined_to", "restored_to", "sha256", "better",
)  # fmt: skip
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def case_report(cases: list[Verdict], format: Format, *, scanned: bool = False, narrow: bool = False) -> RenderableType:
    """The verdicts in one of three formats; `scanned` ones have no id that a command takes, and all of them stay."""
    if format == "jsonl":
        return case_lines(cases)
    if format == "csv":
        return case_csv(cases)
    if not cases:
        return "no copies\n"
    common = common_folder(cases)
    notes = [f"paths are below {show_path(common)}"] if common else []
    if any(case.better for case in cases):
        notes.append("better: the copy has more pixels than its original")
    return Group(case_table(cases, common, scanned=scanned, narrow=narrow), *map(Text, notes))


def case_table(cases: list[Verdict], common: bytes = b"", *, scanned: bool = False, narrow: bool = False) -> Table:
    """A table of verdicts; `common` is the beginning of all paths that is left out.

    Where it must be narrow each original stands below its copy, and figures are left out.
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
    for case in cases:
        copy, original = (_short(*each, common) for each in _both(case))
        places = [copy + "\n" + original] if narrow else [copy, original, *_figures(case)]
        cells = [what_it_is(case), *places]
        if not scanned:
            cells = [case.id[:SHORT_ID], *cells, case.action if case.state == "done" else case.state]
        table.add_row(*map(Text, cells))
    return table


def what_it_is(case: Verdict) -> str:
    """A few words: `same bytes`, or the edit that was found."""
    what = "same bytes" if case.kind == "exact" else case.edit or "near copy"
    return f"{what} (better)" if case.better else what


def case_lines(cases: Iterable[Verdict]) -> str:
    """The verdicts as the duplicates log would hold them, one JSON object a line."""
    return "".join(json.dumps(event_of(case), ensure_ascii=False) + "\n" for case in cases)


def case_csv(cases: Iterable[Verdict]) -> str:
    """The verdicts as CSV with a header; a name that starts like a formula is quoted, for the sake of spreadsheets."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    for case in cases:
        writer.writerow({key: _harmless(value) for key, value in event_of(case).items()})
    return out.getvalue()


def refused_report(refused: list[UnreadableFile], format: Format) -> RenderableType:
    """The files that are no readable pictures, and why, in one of three formats."""
    if format == "table":
        return _refused_table(refused) if refused else "no unreadable files\n"
    entries = [path_fields("path", item.path) | {"reason": item.reason} for item in refused]
    if format == "jsonl":
        return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    out = io.StringIO()
    writer = csv.DictWriter(out, ("path", "reason"), extrasaction="ignore")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in entry.items()} for entry in entries)
    return out.getvalue()


def plain(report: RenderableType) -> str:
    """A report as text for a file or another program: as wide as it needs, and no line ends in blanks."""
    if isinstance(report, str):
        return report
    text = io.StringIO()
    Console(file=text, width=_ENDLESS, highlight=False).print(report)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def check_table(found: Iterable[Check]) -> Table:
    table = _lines(3)
    for check in found:
        table.add_row(_cell(check.outcome, _COLOURS[check.outcome]), _cell(check.what), _cell(check.detail))
    return table


def calibration_table(calibration: Calibration) -> Table:
    """Recall by edit in percent: nominated by distance, found with evidence, and its bounds; means at the end."""
    from twinwatch.calibration import EDITS, HARD_EDITS  # and all that draws

    table = Table(box=None, pad_edge=False)
    table.add_column("edit")
    for heading in ("nominated %", "found %", "95% bounds"):
        table.add_column(heading, justify="right")
    for name, found in calibration.found.items():
        bounds = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
        table.add_row(name, f"{100 * calibration.nominated[name].share:.1f}", f"{100 * found.share:.1f}", bounds)
    for title, edits in (("mean of the first 18", EDITS), ("mean of the 16 harder", HARD_EDITS)):
        means = [
            sum(rates[name].share for name in edits) / len(edits)
            for rates in (calibration.nominated, calibration.found)
        ]
        table.add_row(title, *(f"{100 * mean:.1f}" for mean in means), "")
    return table


def status_table(status: dict[str, Any], counts: dict[str, int], pid: int | None, latched: dict[str, str]) -> Table:
    """What the daemon does and knows."""
    table = _lines(2)

    def row(name: str, value: str, colour: str = "") -> None:
        table.add_row(_cell(name, "bold"), _cell(value, colour))

    row("daemon", f"running, process {pid}" if pid else "not running", "green" if pid else "yellow")
    if status:
        note = f" ({status['device_note']})" if status["device_note"] else ""
        row("encoder", f"{status['preset']}, bundle {status['bundle']}, on {status['device']}{note}")
        row("seen", f"{status['time']}, up since {status['started']}" if pid else f"last at {status['time']}")
    originals = pluralize(counts.get("kept", 0), "picture")
    copies = pluralize(counts.get("duplicate", 0), "flagged copy", "flagged copies")
    row("files", f"{originals}, {copies}, {counts.get('quarantined', 0)} in quarantine")
    unreadable = counts.get("unreadable", 0)
    hint = " (`twinwatch list --unreadable`)" if unreadable else ""
    to_do = backlog_text(counts["waiting"], status.get("files_per_s", 0.0) if pid else 0.0)
    row("", f"{counts.get('restored', 0)} restored, {unreadable} unreadable{hint}, {to_do}")
    for root in status.get("roots", []):
        path = root["path"]
        action = "quarantine off: protected" if root.get("protect") else root["action"]
        how = "away" if root["away"] else f"{root['mode']}, {pluralize(root['files'], 'file')} at the last scan"
        row(path, f"{action}, {how}")
        for trouble in filter(None, (root["away"], *root["notes"])):
            row("", trouble, "yellow")
        if path in latched:
            row("", f"quarantine is off: {latched[path]}; look into it, then `twinwatch resume {path}`", "red")
    return table


def common_folder(cases: list[Verdict]) -> bytes:
    """The folder that all paths lie in, with its slash; empty if that is the root folder."""
    paths = [os.path.join(root, path) for case in cases for root, path in _both(case)]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else b""
    return folder + b"/" if len(folder) > 1 else b""


def _both(case: Verdict) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Where the copy is now or was last, and its original."""
    return (case.root, case.restored_to or case.path), (case.original_root, case.original_path)


def _cell(text: str, style: str = "") -> Text:
    return Text(escape_controls(text), style)


def _lines(columns: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(columns):
        table.add_column(overflow="fold")  # a path that is cut short is of no use
    return table


def _short(root: bytes, path: bytes, common: bytes) -> str:
    return show_path(os.path.join(root, path).removeprefix(common))


def _figures(case: Verdict) -> tuple[str, str]:
    return (
        "" if case.distance is None else f"{case.distance:.3f}",
        "" if case.evidence is None else f"{case.evidence:.2f}",
    )


def _refused_table(refused: list[UnreadableFile]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("path", overflow="fold")
    table.add_column("why")
    for item in refused:
        table.add_row(Text(show_path(item.path)), _cell(item.reason))
    return table


def _harmless(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()  # as in JSON
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
