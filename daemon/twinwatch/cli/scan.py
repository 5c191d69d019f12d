"""`twinwatch scan`: one pass over folders, without a configuration. It moves nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinwatch.cli import terminal
from twinwatch.cli.options import BundleOption, Device, ReportFormat
from twinwatch.config import Limits
from twinwatch.errors import ConfigError
from twinwatch.signals import sigint_deferred
from twinwatch.wording import pluralize, show_path, user_name

if TYPE_CHECKING:
    from twinwatch.service import ScanReport
    from twinwatch.workers import WorkerPool


def scan(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders to look through.")],
    format: Annotated[ReportFormat, typer.Option(help="How the copies are written.")] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    state: Annotated[Path | None, typer.Option(help="Keep what was learned here, for the next scan.")] = None,
    bundle: BundleOption = "default",
    device: Annotated[Device, typer.Option(help="Where the encoder runs.")] = "auto",
) -> None:
    """Look through folders once and list the copies in them. Nothing is moved."""
    from twinwatch.service import logs
    from twinwatch.workers import WorkerPool

    logs.configure_quiet()
    if out is not None:
        _require_writable(out)
    with WorkerPool(Limits(), eager=True) as workers:  # the workers load their libraries while this process does
        result = _scan(folders, state, bundle, device, workers)
    from twinwatch.cli.reports import verdict_report

    report = verdict_report(result.copies, format, scanned=True, narrow=out is None and terminal.is_narrow())
    if out is None:
        terminal.print_report(report)
    else:
        out.write_text(terminal.plain_text(report), encoding="utf-8")
    _print_summary(result)


def _scan(folders: list[Path], state: Path | None, bundle: str, device: Device, workers: WorkerPool) -> ScanReport:
    with sigint_deferred():
        from twinwatch.judging import Engine
        from twinwatch.search import Encoder, bundle_path, load_bundle
        from twinwatch.service import catalogue_for, distinct, scan_folders

    places = distinct(folders)
    loaded = load_bundle(bundle_path(bundle))
    engine = Engine(loaded, Encoder(loaded, device), workers)
    with catalogue_for(places, state) as catalog_path, terminal.progress_bar() as bar:
        task = bar.add_task("judging", total=None, rate="")

        def show(judged: int, total: int) -> None:
            bar.update(task, completed=judged, total=max(judged, total), rate=terminal.speed_text(bar, task))

        return scan_folders(places, catalog_path, engine, show)


def _print_summary(result: ScanReport) -> None:
    for refused in result.unreadable:
        terminal.print_line(terminal.err, f"unreadable: {show_path(refused.path)}: {refused.reason}")
    for path in result.changed:
        terminal.print_line(terminal.err, f"changed while it was looked at, scan again: {show_path(path)}")
    terminal.err.print(
        f"{pluralize(result.files, 'file')}, {result.judged} judged, "
        f"{pluralize(len(result.copies), 'copy', 'copies')}, "
        f"{len(result.unreadable)} unreadable, {result.seconds:.1f} s"
    )


def _require_writable(out: Path) -> None:
    """Raises ConfigError where the report cannot be written. Called first, so that no scan is done in vain."""
    folder = out.absolute().parent
    # A path that ends in a slash exists only if it is a folder.
    if not os.access(f"{folder}/", os.F_OK):
        why = f"no such folder: {folder}"
    elif os.access(f"{out}/", os.F_OK):
        why = "is a folder; name a file"
    elif not os.access(out if os.access(out, os.F_OK) else folder, os.W_OK, effective_ids=True):
        why = f"{user_name()} may not write there"
    else:
        return
    raise ConfigError(f"--out {out}: {why}")
