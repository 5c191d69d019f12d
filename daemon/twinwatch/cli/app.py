"""The Typer application: the ten commands in the order in which `--help` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from twinwatch import __version__
from twinwatch.cli import calibrate, check, dismiss, list, rebuild, restore, resume, run, scan, status, terminal
from twinwatch.cli.typer_group import SafeGroup

app = typer.Typer(
    cls=SafeGroup,
    help="Finds copies of pictures, exact or edited, in watched folders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.out.print(f"twinwatch {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command()(run.run)
app.command()(scan.scan)
app.command()(calibrate.calibrate)
app.command("list")(list.list_verdicts)
app.command()(restore.restore)
app.command()(dismiss.dismiss)
app.command()(status.status)
app.command()(check.check)
app.command()(resume.resume)
app.command()(rebuild.rebuild)
