"""`twinwatch resume`: quarantine on again where the circuit breaker or a fault had switched it off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH
from twinwatch.wording import pluralize


def resume(
    folder: Annotated[Path | None, typer.Argument(help="The watched folder; all of them if left out.")] = None,
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Switch quarantine on again where a fault had switched it off."""
    from twinwatch.review import resume_roots
    from twinwatch.store import open_store

    settings = load_as_owner(config)
    store = open_store(open_state(settings).catalog_path)
    resumed = resume_roots(settings, store, Path(os.path.normpath(folder.absolute())) if folder else None)
    for root in resumed:
        terminal.print_line(terminal.out, f"{root.path}: quarantine works again (it was off: {root.reason})")
        if root.flagged:
            flagged = pluralize(root.flagged, "copy that was", "copies that were")
            terminal.out.print(f"{flagged} flagged meanwhile stay where they are; `twinwatch list` shows them")
    if not resumed:
        terminal.out.print("nothing was switched off")
