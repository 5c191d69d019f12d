"""`twinwatch restore`: files back from quarantine. It works without a catalogue, from the quarantine's own records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.clock import rfc3339
from twinwatch.config import DEFAULT_PATH
from twinwatch.errors import ConfigError
from twinwatch.wording import show_path


def restore(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in quarantine.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="All that was moved since this time, such as 2026-01-31T12:00; without a zone it is local."),
    ] = None,
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Put files back from quarantine, as they were. A name taken meanwhile gets a .restored-N."""
    from twinwatch.review import moved_since, open_store_if_sound, quarantined_files, restore_files, select

    if sum((bool(ids), everything, since is not None)) != 1:
        raise ConfigError(
            "say what to restore: ids, or --all, or --since TIME; `twinwatch list --quarantined` shows them"
        )
    earliest = "" if since is None else _utc_time(since)
    settings = load_as_owner(config)
    state = open_state(settings)
    store = open_store_if_sound(state.catalog_path)
    if store is None and state.catalog_path.exists():
        terminal.err.print("the catalogue cannot be used just now, so what is put back is not remembered there")
    files = quarantined_files(settings, store)
    files = select(files, ids, store) if ids else moved_since(files, earliest)
    results = restore_files(settings, files, store)
    for result in results:
        if result.error:
            terminal.print_line(terminal.err, f"not restored: {show_path(result.path)}: {result.error}")
        else:
            what = "was restored already" if result.already else "restored"
            terminal.print_line(terminal.out, f"{what}: {show_path(result.path)}")
        if result.note:
            terminal.print_line(terminal.err, f"{show_path(result.path)}: {result.note}")
    failed = sum(1 for result in results if result.error)
    done = sum(1 for result in results if not result.error and not result.already)
    scope = f", of what was moved since {earliest}" if earliest else ""
    terminal.out.print(f"{done} restored, {failed} failed{scope}")
    raise typer.Exit(1 if failed else 0)


def _utc_time(text: str) -> str:
    """Return an ISO 8601 time as RFC 3339 in UTC; a time without a zone is local. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since: not a time: {text!r}; write it like 2026-01-31T12:00") from None
    try:
        return rfc3339(moment)
    except (ValueError, OverflowError):  # in UTC the time is before the year 1 or after 9999
        raise ConfigError(f"--since: no time that can be reckoned with: {text}") from None
