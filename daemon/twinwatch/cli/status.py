"""`twinwatch status`: whether the daemon runs, and what the catalogue holds."""

from __future__ import annotations

import os

from twinwatch.cli import terminal
from twinwatch.cli.options import ConfigOption
from twinwatch.cli.settings import load_as_owner, open_state
from twinwatch.config import DEFAULT_PATH


def status(config: ConfigOption = DEFAULT_PATH) -> None:
    """Show what the daemon does and knows."""
    from twinwatch.cli.tables import status_table
    from twinwatch.service import read_status
    from twinwatch.store import open_store

    state = open_state(load_as_owner(config))
    store = open_store(state.catalog_path)
    switched_off = {os.fsdecode(root.path): root.tripped for root in store.roots.all() if root.tripped}
    terminal.print_report(status_table(read_status(state.path), store.counts(), state.lock_owner(), switched_off))
