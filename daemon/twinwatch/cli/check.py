"""`twinwatch check`: whether the configuration works on this machine."""

from __future__ import annotations

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner
from twinwatch.config import DEFAULT_PATH


def check(config: ConfigOption = DEFAULT_PATH) -> None:
    """Check the configuration and everything it needs; exit 1 if something does not work."""
    from twinwatch.cli.tables import check_table
    from twinwatch.service import CheckOutcome, run_checks

    results = list(run_checks(load_as_owner(config)))
    terminal.print_report(check_table(results))
    raise typer.Exit(1 if any(result.outcome is CheckOutcome.FAILED for result in results) else 0)
