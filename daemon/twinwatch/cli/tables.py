"""The tables of `check`, `calibrate` and `status`. The functions return tables and print nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from twinwatch.wording import backlog_text, escape_controls, pluralize

if TYPE_CHECKING:
    from twinwatch.calibration import Calibration
    from twinwatch.service import Check

_OUTCOME_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def check_table(results: Iterable[Check]) -> Table:
    """Return one row for each check: outcome, what was checked, and details."""
    table = _plain_table(columns=3)
    for check in results:
        table.add_row(_cell(check.outcome, _OUTCOME_COLOURS[check.outcome]), _cell(check.what), _cell(check.detail))
    return table


def calibration_table(calibration: Calibration) -> Table:
    """Return one row for each edit, and the means below; all figures are percentages.

    `nominated` is the share of edited pictures whose original is within the radius, `found` the share that has
    evidence too; the bounds are those of `found`.
    """
    from twinwatch.calibration import EDITS, HARD_EDITS  # the module draws pictures, so it loads Pillow

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


def status_table(
    status: dict[str, Any], counts: dict[str, int], pid: int | None, switched_off: dict[str, str]
) -> Table:
    """Return what the daemon does and knows.

    `status` is what the daemon wrote last, or empty; `counts` is the number of files by state; `pid` is the daemon's
    process id, None if it does not run; `switched_off` gives, by watched folder, the reason why quarantine is off.
    """
    table = _plain_table(columns=2)

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
    backlog = backlog_text(counts["waiting"], status.get("files_per_s", 0.0) if pid else 0.0)
    row("", f"{counts.get('restored', 0)} restored, {unreadable} unreadable{hint}, {backlog}")
    for root in status.get("roots", []):
        path = root["path"]
        action = "quarantine off: protected" if root.get("protect") else root["action"]
        how = "away" if root["away"] else f"{root['mode']}, {pluralize(root['files'], 'file')} at the last scan"
        row(path, f"{action}, {how}")
        for trouble in filter(None, (root["away"], *root["notes"])):
            row("", trouble, "yellow")
        if path in switched_off:
            row("", f"quarantine is off: {switched_off[path]}; look into it, then `twinwatch resume {path}`", "red")
    return table


def _plain_table(columns: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(columns):
        table.add_column(overflow="fold")  # a path that is cut short is of no use
    return table


def _cell(text: str, style: str = "") -> Text:
    return Text(escape_controls(text), style)
