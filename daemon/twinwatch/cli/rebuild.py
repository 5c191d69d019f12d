"""`twinwatch rebuild`: a new catalogue in place of a damaged or lost one."""

from __future__ import annotations

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH
from twinwatch.wording import pluralize


def rebuild(config: ConfigOption = DEFAULT_PATH) -> None:
    """Start the catalogue anew from the folders and the quarantine's records; the daemon must be stopped."""
    from twinwatch.review import rebuild_catalog

    settings = load_as_owner(config)
    state = open_state(settings)
    with state.lock():
        result = rebuild_catalog(settings, state.catalog_path)
    if result.aside:
        kept = f"the old catalogue is kept as {result.aside}; what was restored or dismissed is no longer listed"
        terminal.print_line(terminal.out, kept)
    if result.dismissals_lost:
        terminal.err.print("the old catalogue could not be read: what was dismissed before is forgotten")
    terminal.out.print(
        f"new catalogue: {pluralize(result.quarantined, 'file')} in quarantine, "
        f"{pluralize(result.dismissals, 'dismissal')}; the folders are taken in when the daemon starts"
    )
    for why in result.offline:
        terminal.print_line(terminal.err, f"not taken in yet: {why}")
