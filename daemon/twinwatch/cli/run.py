"""`twinwatch run`: the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from twinwatch.cli.options import ConfigOption
from twinwatch.config import DEFAULT_PATH
from twinwatch.signals import sigint_deferred


def run(
    config: ConfigOption = DEFAULT_PATH,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every file, not only copies.")] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM; SIGHUP reloads the configuration."""
    with sigint_deferred():
        from twinwatch.service import Signals, logs, run_daemon

    logs.configure(verbose)
    signals = Signals()
    signals.install()
    run_daemon(config, signals)
