"""`twinwatch calibrate`: error rates on the user's own pictures, and a bundle with the radius and level that fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import BundleOption
from twinwatch.errors import ConfigError
from twinwatch.signals import sigint_deferred
from twinwatch.wording import user_name

if TYPE_CHECKING:
    from rich.progress import TaskID


def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures like those to come; nothing is changed.")],
    bearable: Annotated[
        float, typer.Option(help="How many wrong accusations in 10,000 new pictures can be borne.")
    ] = 1,
    sample: Annotated[int, typer.Option(min=1, help="How many pictures are edited, each in every way.")] = 100,
    limit: Annotated[int, typer.Option(min=1, help="How many pictures are looked at, drawn from all.")] = 5000,
    bundle: BundleOption = "default",
    out: Annotated[Path | None, typer.Option(help="Write a bundle with the chosen levels here.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which pictures are drawn.")] = 0,
) -> None:
    """Measure on a site's own pictures what would be found and who accused, and choose radius and evidence level."""
    with sigint_deferred():
        from twinwatch.calibration import (
            CalibrationRun,
            calibrate as measure,
            findings,
            pictures_below,
            write_calibrated,
        )
        from twinwatch.cli.tables import calibration_table
        from twinwatch.search import Encoder, bundle_path, load_bundle
        from twinwatch.service import logs

    logs.configure_quiet()
    if not 0 < bearable <= 10_000:
        raise ConfigError(f"--bearable {bearable:g}: give a number above 0 and at most 10000")
    if out is not None:
        _require_bundle_place(out)
    loaded = load_bundle(bundle_path(bundle))
    encoder = Encoder(loaded, "cpu", threads=0)
    with terminal.progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, rate="")
            bar.update(tasks[name], completed=done)

        files = pictures_below(folder)
        run = CalibrationRun(files, bearable / 10_000, sample, limit, seed)
        found = measure(run, loaded, encoder, show)
    terminal.print_report(calibration_table(found))
    for line in findings(found):
        terminal.print_line(terminal.out, line)
    if out is None:
        advice = "to use these levels: give --out BUNDLE, and set model.bundle in the configuration to its path"
    else:
        write_calibrated(loaded, found, out)
        advice = f"bundle written: set model.bundle in the configuration to {out.absolute()}"
    terminal.print_line(terminal.out, advice)


def _require_bundle_place(out: Path) -> None:
    """Raises ConfigError where no bundle can be written: the path holds something else, or is not writable."""
    from twinwatch.search import require_writable_target

    require_writable_target(out)
    folder = out if out.is_dir() else out.absolute().parent
    if not os.access(folder, os.W_OK, effective_ids=True):
        why = f"{user_name()} may not write there" if folder.is_dir() else f"no such folder: {folder}"
        raise ConfigError(f"--out {out}: {why}")
