"""`twinwatch dismiss`: verdicts that a person calls wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH
from twinwatch.errors import TwinwatchError
from twinwatch.wording import show_path


def dismiss(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")],
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Say that a picture is no duplicate. It is remembered by content; a quarantined file is put back."""
    from twinwatch.review import decisions
    from twinwatch.store import Catalog

    settings = load_as_owner(config)
    catalog = Catalog(open_state(settings).catalog_path)
    catalog.make_durable()
    for verdict in decisions.verdicts(catalog, ids):
        restoration, unlogged = decisions.dismiss(settings, catalog, verdict)
        if restoration is not None and restoration.error:
            raise TwinwatchError(f"remembered, but not put back: {show_path(restoration.path)}: {restoration.error}")
        for note in (restoration.note if restoration else "", unlogged):
            if note:
                terminal.print_line(terminal.err, note)
        path = restoration.path if restoration else verdict.root + b"/" + verdict.path
        what = "was dismissed already" if verdict.state == "dismissed" else "no duplicate"
        terminal.print_line(terminal.out, f"{what}: {show_path(path)}")
        if verdict.state != "dismissed" and verdict.kind == "exact":
            terminal.out.print("files of these very bytes are no longer taken for copies of each other")
