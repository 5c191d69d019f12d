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


@app.command()
def run(
    config: ConfigOption = DEFAULT_PATH,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every file, not only copies.")] = False,
) -> None:
    """Run the daemon in the foreground until SIGTERM; SIGHUP reloads the configuration."""
    with sigint_deferred():
        from twinwatch.service import daemon, logs

    logs.configure(verbose)
    signals = daemon.Signals()
    signals.install()
    daemon.run(config, signals)


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
    from twinwatch.service import logs
    from twinwatch.workers import WorkerPool

    logs.configure_quiet()
    if out is not None:
        _require_writable(out)
    with WorkerPool(Limits(), eager=True) as workers:  # they load what they need while this process does
        with sigint_deferred():
            from twinwatch.search import Encoder, bundle_path, load_bundle
            from twinwatch.service import catalogue_for, distinct, scan_folders

        places = distinct(folders)
        loaded = load_bundle(bundle_path(bundle))
        encoder = Encoder(loaded, device)
        with catalogue_for(places, state) as catalog_path, _progress() as bar:
            task = bar.add_task("judging", total=None, rate="")

            def show(judged: int, total: int) -> None:
                bar.update(task, completed=judged, total=max(judged, total), rate=_rate(bar, task))

            result = scan_folders(places, catalog_path, loaded, encoder, workers, show)
    from twinwatch.cli.tables import case_report, plain

    report = case_report(result.copies, format, scanned=True, narrow=out is None and _narrow())
    if out is None:
        _write(report)
    else:
        out.write_text(plain(report), encoding="utf-8")
    for refused in result.unreadable:
        _tell(_err, f"unreadable: {_show(refused.path)}: {refused.reason}")
    for path in result.changed:
        _tell(_err, f"changed while it was looked at, scan again: {_show(path)}")
    _err.print(
        f"{pluralize(result.files, 'file')}, {result.judged} judged, "
        f"{pluralize(len(result.copies), 'copy', 'copies')}, "
        f"{len(result.unreadable)} unreadable, {result.seconds:.1f} s"
    )


@app.command()
def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures like those to come; nothing is changed.")],
    bearable: Annotated[
        float, typer.Option(help="How many wrong accusations in 10,000 new pictures can be borne.")
    ] = 1,
    sample: Annotated[int, typer.Option(min=1, help="How many pictures are edited, each in every way.")] = 100,
    limit: Annotated[int, typer.Option(min=1, help="How many pictures are looked at, drawn from all.")] = 5000,
    bundle: Annotated[str, typer.Option(help="Trained bundle, by name or path.")] = "default",
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
    with _progress() as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, rate="")
            bar.update(tasks[name], completed=done)

        files = pictures_below(folder)
        run = CalibrationRun(files, bearable / 10_000, sample, limit, seed)
        found = measure(run, loaded, encoder, show)
    _write(calibration_table(found))
    for line in findings(found):
        _tell(_out, line)
    if out is None:
        _tell(_out, "to use these levels: give --out BUNDLE, and set model.bundle in the configuration to its path")
    else:
        write_calibrated(loaded, found, out)
        _tell(_out, f"bundle written: set model.bundle in the configuration to {out.absolute()}")


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_PATH,
    everything: Annotated[bool, typer.Option("--all", help="Also restored and dismissed ones.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only what lies in quarantine.")] = False,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Instead of copies, the files that are no readable pictures, and why.")
    ] = False,
    format: Annotated[Literal["table", "jsonl", "csv"], typer.Option(help="How they are written.")] = "table",
) -> None:
    """List the copies that were found, with the ids that restore and dismiss take."""
    from twinwatch.cli.tables import case_report, refused_report
    from twinwatch.store import Catalog

    if unreadable and (everything or quarantined):
        raise ConfigError("--unreadable lists other files than --all and --quarantined; give it alone")
    catalog = Catalog(_state(_settings(config)).catalog_path)
    if unreadable:
        _write(refused_report(catalog.unreadable(), format))
        return
    cases = catalog.cases.quarantined() if quarantined else catalog.cases.all(state=None if everything else "done")
    _write(case_report(cases, format, narrow=_narrow()))


@app.command()
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
    from twinwatch.review import decisions

    if sum((bool(ids), everything, since is not None)) != 1:
        raise ConfigError(
            "say what to restore: ids, or --all, or --since TIME; `twinwatch list --quarantined` shows them"
        )
    earliest = "" if since is None else _time(since)
    settings = _settings(config)
    state = _state(settings)
    catalog = decisions.open_catalog_if_sound(state.catalog_path)
    if catalog is None and state.catalog_path.exists():
        _err.print("the catalogue cannot be used just now, so what is put back is not remembered there")
    items = decisions.held(settings, catalog)
    items = decisions.chosen(items, ids, catalog) if ids else decisions.moved_since(items, earliest)
    results = decisions.restore(settings, items, catalog)
    for result in results:
        if result.error:
            _tell(_err, f"not restored: {_show(result.path)}: {result.error}")
        else:
            _tell(_out, f"{'was restored already' if result.already else 'restored'}: {_show(result.path)}")
        if result.note:
            _tell(_err, f"{_show(result.path)}: {result.note}")
    failed = sum(1 for result in results if result.error)
    done = sum(1 for result in results if not result.error and not result.already)
    _out.print(f"{done} restored, {failed} failed" + (f", of what was moved since {earliest}" if earliest else ""))
    raise typer.Exit(1 if failed else 0)


@app.command()
def dismiss(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the beginnings of ids.")],
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Say that a picture is no duplicate. It is remembered by content; a quarantined file is put back."""
    from twinwatch.review import decisions
    from twinwatch.store import Catalog

    settings = _settings(config)
    catalog = Catalog(_state(settings).catalog_path)
    catalog.make_durable()
    for case in decisions.verdicts(catalog, ids):
        restoration, unlogged = decisions.dismiss(settings, catalog, case)
        if restoration is not None and restoration.error:
            raise TwinwatchError(f"remembered, but not put back: {_show(restoration.path)}: {restoration.error}")
        for note in (restoration.note if restoration else "", unlogged):
            if note:
                _tell(_err, note)
        place = restoration.path if restoration else case.root + b"/" + case.path
        _tell(_out, f"{'was dismissed already' if case.state == 'dismissed' else 'no duplicate'}: {_show(place)}")
        if case.state != "dismissed" and case.kind == "exact":
            _out.print("files of these very bytes are no longer taken for copies of each other")


@app.command()
def status(config: ConfigOption = DEFAULT_PATH) -> None:
    """Show what the daemon does and knows."""
    from twinwatch.cli.tables import status_table
    from twinwatch.store import Catalog

    state = _state(_settings(config))
    catalog = Catalog(state.catalog_path)
    latched = {os.fsdecode(root.path): root.latched for root in catalog.roots() if root.latched}
    _write(status_table(state.read_status(), catalog.counts(), state.holder(), latched))


@app.command()
def check(config: ConfigOption = DEFAULT_PATH) -> None:
    """Check the configuration and everything it needs; exit 1 if something does not work."""
    from twinwatch.cli.tables import check_table
    from twinwatch.service import run_checks

    found = list(run_checks(_settings(config)))
    _write(check_table(found))
    raise typer.Exit(1 if any(item.outcome == "failed" for item in found) else 0)


@app.command()
def resume(
    folder: Annotated[Path | None, typer.Argument(help="The watched folder; all of them if left out.")] = None,
    config: ConfigOption = DEFAULT_PATH,
) -> None:
    """Switch quarantine on again where a fault had switched it off."""
    from twinwatch.review import decisions
    from twinwatch.store import Catalog

    settings = _settings(config)
    catalog = Catalog(_state(settings).catalog_path)
    cleared = decisions.resume(settings, catalog, Path(os.path.normpath(folder.absolute())) if folder else None)
    for each in cleared:
        _tell(_out, f"{each.path}: quarantine works again (it was off: {each.reason})")
        if each.flagged:
            flagged = pluralize(each.flagged, "copy that was", "copies that were")
            _out.print(f"{flagged} flagged meanwhile stay where they are; `twinwatch list` shows them")
    if not cleared:
        _out.print("nothing was switched off")


@app.command()
def rebuild(config: ConfigOption = DEFAULT_PATH) -> None:
    """Start the catalogue anew from the folders and the quarantine's records; the daemon must be stopped."""
    from twinwatch.review import decisions

    settings = _settings(config)
    state = _state(settings)
    with state.held():
        result = decisions.rebuild(settings, state.catalog_path)
    if result.aside:
        _tell(_out, f"the old catalogue is kept as {result.aside}; what was restored or dismissed is no longer listed")
    if result.dismissals_lost:
        _err.print("the old catalogue could not be read: what was dismissed before is forgotten")
    _out.print(
        f"new catalogue: {pluralize(result.quarantined, 'file')} in quarantine, "
        f"{pluralize(result.dismissals, 'dismissal')}; the folders are taken in when the daemon starts"
    )
    for why in result.away:
        _tell(_err, f"not taken in yet: {why}")


def _settings(config: Path) -> Settings:
    from twinwatch.service import logs

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
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # a number without an account, as in a container
        os.setgroups([owner.st_gid])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _state(settings: Settings) -> StateFolder:
    from twinwatch.service import StateFolder

    return StateFolder(settings.state_dir)


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


def _tell(console: Console, line: str) -> None:
    """Print a line that names of others may be part of: they are no markup and can forge nothing."""
    console.print(Text(escape_controls(line)))


def _narrow() -> bool:
    from twinwatch.cli.tables import NARROW

    return sys.stdout.isatty() and _out.width < NARROW


def _write(report: RenderableType) -> None:
    from twinwatch.cli.tables import plain

    if sys.stdout.isatty() and not isinstance(report, str):
        _out.print(report)
    else:
        sys.stdout.write(plain(report))


def _require_writable(out: Path) -> None:
    """Raises ConfigError where a report cannot be written: before the work that would be lost."""
    folder = out.absolute().parent
    # With a slash at its end a name is that of a folder or of nothing.
    if not os.access(f"{folder}/", os.F_OK):
        why = f"no such folder: {folder}"
    elif os.access(f"{out}/", os.F_OK):
        why = "is a folder; name a file"
    elif not os.access(out if os.access(out, os.F_OK) else folder, os.W_OK, effective_ids=True):
        why = f"{user_name()} may not write there"
    else:
        return
    raise ConfigError(f"--out {out}: {why}")


def _require_bundle_place(out: Path) -> None:
    """Raises ConfigError for a place that holds something else, or cannot be written to."""
    from twinwatch.search import require_writable_target

    require_writable_target(out)
    folder = out if out.is_dir() else out.absolute().parent
    if not os.access(folder, os.W_OK, effective_ids=True):
        why = f"{user_name()} may not write there" if folder.is_dir() else f"no such folder: {folder}"
        raise ConfigError(f"--out {out}: {why}")


def _show(path: bytes) -> str:
    from twinwatch.wording import show_path

    return show_path(path)


def _time(text: str) -> str:
    """Return an RFC 3339 time in UTC for what a person wrote; without a zone it is local time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since: not a time: {text!r}; write it like 2026-01-31T12:00") from None
    try:
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC it is before the year 1 or after 9999
        raise ConfigError(f"--since: no time that can be reckoned with: {text}") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
