"""`twinwatch list`: the verdicts in the catalogue, or the files that could not be read."""

from __future__ import annotations

from typing import Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption, ReportFormat
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH
from twinwatch.errors import ConfigError


def list_verdicts(
    config: ConfigOption = DEFAULT_PATH,
    everything: Annotated[bool, typer.Option("--all", help="Also restored and dismissed ones.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only what lies in quarantine.")] = False,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Instead of copies, the files that are no readable pictures, and why.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option(help="How they are written.")] = "table",
) -> None:
    """List the copies that were found, with the ids that restore and dismiss take."""
    from twinwatch.cli.reports import unreadable_report, verdict_report
    from twinwatch.store import VerdictState, open_store

    if unreadable and (everything or quarantined):
        raise ConfigError("--unreadable lists other files than --all and --quarantined; give it alone")
    store = open_store(open_state(load_as_owner(config)).catalog_path)
    if unreadable:
        terminal.print_report(unreadable_report(store.files.unreadable(), format))
        return
    state = None if everything else VerdictState.DONE
    verdicts = store.verdicts.quarantined() if quarantined else store.verdicts.all(state)
    terminal.print_report(verdict_report(verdicts, format, narrow=terminal.is_narrow()))
