"""The `twinwatch` command. The only module that prints or exits; every other one returns values or raises."""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from twinwatch import __version__
from twinwatch.config import DEFAULT_PATH, Limits, Settings, load_settings
from twinwatch.errors import ConfigError, TwinwatchError

if TYPE_CHECKING:
    from twinwatch.catalog import Case
    from twinwatch.state import StateFolder

# Everything heavier is imported by the command that needs it: decoder processes import this module too.

app = typer.Typer(
    help="Finds copies of pictures, exact or edited, in watched folders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
_err = Console(stderr=True, highlight=False, soft_wrap=True)

_WIDE = 240

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="TWINWATCH_CONFIG", help="Configuration file.", show_default=True)
]


def main() -> None:
    """Entry point: runs a command and turns errors into messages and exit codes."""
    try:
        app()
    except TwinwatchError as error:
        _err.print(Text(f"twinwatch: {error}"))
        sys.exit(error.exit_code)
    except OSError as error:
        _err.print(Text(f"twinwatch: {error}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        _out.print(f"twinwatch {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigOption = DEFAULT_PATH,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every file, not only copies.")] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM; SIGHUP reloads the configuration."""
    from twinwatch import logs, service

    logs.configure(verbose)
    signals = service.Signals()
    signals.install()
    service.run(config, signals)


@app.command()
def scan(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders to look through.")],
    format: Annotated[Literal["table", "jsonl", "csv"], typer.Option(help="How the copies are written.")] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    state: Annotated[Path | None, typer.Option(help="Keep what was learned here, for the next scan.")] = None,
    bundle: Annotated[str, typer.Option(help="Trained bundle, by name or path.")] = "default",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the encoder runs.")] = "auto",
) -> None:
    """Look through folders once and list the copies in them. Nothing is moved."""
    from twinwatch import logs
    from twinwatch.bundle import load_bundle, locate
    from twinwatch.encoder import Encoder
    from twinwatch.survey import survey

    logs.configure_quiet()
    places = _distinct(folders)
    loaded = load_bundle(locate(bundle))
    encoder = Encoder(loaded, device)
    with _scan_state(state, places) as catalog_path, _progress() as bar:
        task = bar.add_task("judging", total=None, rate="")

        def show(judged: int, total: int) -> None:
            bar.update(task, completed=judged, total=max(judged, total), rate=_rate(bar, task))

        result = survey(places, catalog_path, loaded, encoder, Limits(), show)
    _write(_report(result.copies, format), out)
    for refused in result.unreadable:
        _err.print(Text(f"unreadable: {_show(refused.path)}: {refused.reason}"))
    for path in result.changed:
        _err.print(Text(f"changed while it was looked at, scan again: {_show(path)}"))
    _err.print(
        f"{result.files} files, {result.judged} judged, {len(result.copies)} copies, "
        f"{len(result.unreadable)} unreadable, {result.seconds:.1f} s"
    )


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_PATH,
    everything: Annotated[bool, typer.Option("--all", help="Also restored and dismissed ones.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only what lies in quarantine.")] = False,
    format: Annotated[Literal["table", "jsonl", "csv"], typer.Option(help="How they are written.")] = "table",
) -> None:
    """List the copies that were found, with the ids that restore and dismiss take."""
    from twinwatch.catalog import Catalog

    settings = _settings(config)
    catalog = Catalog(_state(settings).catalog_path)
    cases = catalog.cases(state=None if everything else "done")
    if quarantined:
        cases = [case for case in cases if case.state == "done" and case.action == "quarantined"]
    _write(_report(cases, format), None)


@app.command()
def restore(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in quarantine.")] = False,
    since: Annotated[
        str | None, typer.Option(help="All that was moved since this time, such as 2026-01-31T12:00.")
    ] = None,
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Put files back from quarantine, as they were. A name that is taken meanwhile gets .restored-N added."""
    from twinwatch import decisions

    if sum((bool(ids), everything, since is not None)) != 1:
        raise ConfigError(
            "say what to restore: ids, or --all, or --since TIME; `twinwatch list --quarantined` shows them"
        )
    earliest = None if since is None else _time(since)
    settings = _settings(config)
    items = decisions.held(settings)
    if ids:
        items = decisions.chosen(items, ids)
    elif earliest is not None:
        items = [item for item in items if item.record.intended_at >= earliest]
    catalog = decisions.open_catalog_if_sound(_state(settings))
    results = decisions.restore(settings, items, catalog)
    for result in results:
        if result.error:
            _err.print(Text(f"not restored: {_show(result.path)}: {result.error}"))
        else:
            _out.print(Text(f"restored {_show(result.path)}"))
    failed = sum(1 for result in results if result.error)
    _out.print(f"{len(results) - failed} restored, {failed} failed")
    raise typer.Exit(1 if failed else 0)


@app.command()
def dismiss(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")],
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Say that a picture is no duplicate. It is remembered by content; a quarantined file is put back."""
    from twinwatch import decisions
    from twinwatch.catalog import Catalog

    settings = _settings(config)
    catalog = Catalog(_state(settings).catalog_path)
    catalog.make_durable()
    for wanted in ids:
        case, restoration = decisions.dismiss(settings, catalog, wanted)
        if restoration is not None and restoration.error:
            raise TwinwatchError(f"not put back: {_show(restoration.path)}: {restoration.error}")
        place = restoration.path if restoration else case.root + b"/" + case.path
        _out.print(Text(f"no duplicate: {_show(place)}"))


@app.command()
def status(config: ConfigOption = DEFAULT_PATH) -> None:
    """Show what the daemon does and knows."""
    from twinwatch.catalog import Catalog
    from twinwatch.tables import status_table

    state = _state(_settings(config))
    catalog = Catalog(state.catalog_path)
    latched = {os.fsdecode(root.path): root.latched for root in catalog.roots() if root.latched}
    _write(status_table(state.read_status(), catalog.counts(), state.holder(), latched), None)


@app.command()
def check(config: ConfigOption = DEFAULT_PATH) -> None:
    """Check the configuration and everything it needs; exit 1 if something does not work."""
    from twinwatch.checks import checks
    from twinwatch.tables import check_table

    found = list(checks(_settings(config)))
    _write(check_table(found), None)
    raise typer.Exit(1 if any(item.outcome == "failed" for item in found) else 0)


@app.command()
def resume(
    folder: Annotated[Path | None, typer.Argument(help="The watched folder; all of them if left out.")] = None,
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Switch quarantine on again where a fault had switched it off."""
    from twinwatch import decisions
    from twinwatch.catalog import Catalog

    catalog = Catalog(_state(_settings(config)).catalog_path)
    cleared = decisions.resume(catalog, folder.absolute() if folder else None)
    for path, reason in cleared:
        _out.print(Text(f"{path}: quarantine works again (it was off: {reason})"))
    if not cleared:
        _out.print("nothing was switched off")


@app.command()
def rebuild(config: ConfigOption = DEFAULT_PATH) -> None:
    """Start the catalogue anew from the folders and the quarantine's records; the daemon must be stopped."""
    from twinwatch import decisions

    settings = _settings(config)
    state = _state(settings)
    with state.held():
        result = decisions.rebuild(settings, state)
    if result.aside:
        _out.print(f"the old catalogue is kept as {result.aside}")
    if result.dismissals_lost:
        _err.print("the old catalogue could not be read: what was dismissed before is forgotten")
    _out.print(
        f"new catalogue: {result.quarantined} files in quarantine, {result.dismissals} dismissals; "
        "the folders are taken in when the daemon starts"
    )


def _settings(config: Path) -> Settings:
    from twinwatch import logs

    logs.configure_quiet()
    settings = load_settings(config)
    _become_owner(settings.state_dir)
    return settings


def _become_owner(state_dir: Path) -> None:
    """Act as the daemon's user when called by root, so that no file of the daemon's ends up as root's."""
    if os.geteuid() != 0 or not state_dir.exists():
        return
    owner = state_dir.stat()
    if owner.st_uid == 0:
        return
    os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _state(settings: Settings) -> StateFolder:
    from twinwatch.state import StateFolder

    return StateFolder(settings.state_dir)


def _distinct(folders: list[Path]) -> list[Path]:
    places: list[Path] = []
    for folder in folders:
        place = Path(os.path.realpath(folder))
        if not place.is_dir():
            raise ConfigError(f"{folder}: {'not a folder' if place.exists() else 'no such folder'}")
        if any(place.is_relative_to(other) or other.is_relative_to(place) for other in places):
            raise ConfigError(f"{folder} overlaps another folder given; name each folder once")
        places.append(place)
    return places


@contextmanager
def _scan_state(state: Path | None, places: list[Path]) -> Iterator[Path]:
    from twinwatch.state import StateFolder

    if state is None:
        with tempfile.TemporaryDirectory(prefix="twinwatch-") as folder:
            yield Path(folder, "catalog.db")
        return
    place = Path(os.path.realpath(state))
    if any(place.is_relative_to(folder) for folder in places):
        raise ConfigError(f"--state {state} lies inside a folder to scan; choose another place")
    kept = StateFolder(place)
    with kept.held():
        yield kept.catalog_path


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar


def _rate(bar: Progress, task: TaskID) -> str:
    speed = bar.tasks[task].speed
    return f"{speed:.0f} files/s" if speed else ""


def _report(cases: list[Case], format: str) -> str | Table:
    from twinwatch.tables import case_csv, case_lines, case_table, common_folder

    if format == "jsonl":
        return case_lines(cases)
    if format == "csv":
        return case_csv(cases)
    common = common_folder(cases)
    table = case_table(cases, common)
    table.caption = Text(f"paths are below {_show(common)}") if common else None
    table.caption_justify = "left"
    return table


def _write(report: str | Table, out: Path | None) -> None:
    if out is not None:
        with out.open("w", encoding="utf-8") as file:
            Console(file=file, width=240, highlight=False).print(report) if not isinstance(report, str) else file.write(
                report
            )
    elif isinstance(report, str):
        sys.stdout.write(report)
    else:
        # A pipe has no width, and a table that is cut to 80 columns is of no use to the next program.
        (_out if sys.stdout.isatty() else Console(width=_WIDE, highlight=False)).print(report)


def _show(path: bytes) -> str:
    from twinwatch.duplog import show_path

    return show_path(path)


def _time(text: str) -> str:
    """Return an RFC 3339 time in UTC for what a person wrote; without a zone it is local time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since: not a time: {text!r}; write it like 2026-01-31T12:00") from None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
