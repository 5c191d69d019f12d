"""`twinwatch dismiss`: verdicts that a person calls wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH
from twinwatch.errors import TwinwatchError
from twinwatch.fs import join
from twinwatch.wording import show_path


def dismiss(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")],
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Say that a picture is no duplicate. It is remembered by content; a quarantined file is put back."""
    from twinwatch.review import dismiss_verdict, select_verdicts
    from twinwatch.store import Kind, VerdictState, open_store

    settings = load_as_owner(config)
    store = open_store(open_state(settings).catalog_path)
    store.make_durable()
    for verdict in select_verdicts(store, ids):
        restored, unlogged = dismiss_verdict(settings, store, verdict)
        if restored is not None and restored.error:
            raise TwinwatchError(f"remembered, but not put back: {show_path(restored.path)}: {restored.error}")
        for note in (restored.note if restored else "", unlogged):
            if note:
                terminal.print_line(terminal.err, note)
        path = restored.path if restored else join(verdict.root, verdict.path)
        already = verdict.state is VerdictState.DISMISSED
        what = "was dismissed already" if already else "no duplicate"
        terminal.print_line(terminal.out, f"{what}: {show_path(path)}")
        if not already and verdict.kind is Kind.EXACT:
            terminal.out.print("files of these very bytes are no longer taken for copies of each other")
