"""The command line of training: one command for the whole run, and one for each stage.

This is the only module of the package that prints or exits.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from twinwatch import __version__
from twinwatch.calibration import (
    EDITS,
    HARD_EDITS,
    OTHER_EDITS,
    CalibrationRun,
    calibrate,
    findings,
    write_calibrated,
)
from twinwatch.cli import SafeGroup, calibration_table
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.search import Encoder, bundle_path, load_bundle, require_writable_target
from twinwatch.wording import escape_controls
from twinwatch_training.checkpoint import EpochLoss
from twinwatch_training.evaluate import Evaluation, mean_recall, save_evaluation
from twinwatch_training.presets import preset
from twinwatch_training.stages import BundleTest, Measurement, Stages, measure_bundle
from twinwatch_training.train import choose_device

COMMANDS = ("all", "fit", "cluster", "calibrate", "evaluate", "export", "report")
INTERRUPTED = 130  # the exit code of a shell for SIGINT: 128 + 2

MAX_FALSE_ALARM_RATE = 0.01
WITH_EVIDENCE = 20  # pictures

Data = Annotated[Path, typer.Argument(help="folder of pictures, searched with its subfolders")]
Folder = Annotated[Path | None, typer.Argument(metavar="[DIR]", help="pictures to measure a finished bundle on")]
Out = Annotated[Path, typer.Option("--out", help="folder of the bundle to write")]
OptionalOut = Annotated[Path | None, typer.Option("--out", help="folder of the run's bundle, written or to come")]
Work = Annotated[Path | None, typer.Option("--work", help="folder for checkpoints, BUNDLE.work if not given")]
PresetName = Annotated[str, typer.Option("--preset", help="what is trained: seed or default")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="decides every random choice")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="in place of the preset's number")]
BundleName = Annotated[str | None, typer.Option("--bundle", help="a bundle's folder, or the name of a shipped one")]
FalseAlarms = Annotated[float, typer.Option("--fa", min=0.0, max=0.5, help="share of new pictures wrongly accused")]
Edited = Annotated[
    int | None,
    typer.Option(
        "--evidence",
        min=0,
        help=f"how many pictures to edit and judge with evidence, {WITH_EVIDENCE} if not given",
    ),
]
Bearable = Annotated[
    float | None,
    typer.Option("--bearable", min=1e-3, max=10_000, help="how many wrong accusations in 10,000 new pictures to bear"),
]
Sample = Annotated[int, typer.Option("--sample", min=1, help="with --bearable, how many pictures are edited")]
Against = Annotated[str, typer.Option("--against", help="methods to stand beside: any of phash,pdq,seed")]
Picture = Annotated[Path | None, typer.Option("--picture", help="also draw the table to this PNG, SVG or PDF file")]
Json = Annotated[Path | None, typer.Option("--json", help="also write the numbers to this file")]

app = typer.Typer(
    cls=SafeGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Learn an encoder from a folder of pictures: `twinwatch-train DATA --out BUNDLE` does every step; each is a "
    "command too. A run that was interrupted goes on where it stopped when the same command is given again.",
)


def main() -> None:
    """Entry point; `twinwatch-train DATA ...` is `twinwatch-train all DATA ...`."""
    if len(sys.argv) > 1 and sys.argv[1] not in (*COMMANDS, "--help", "--version"):
        sys.argv.insert(1, "all")
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinwatch-train {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command("all")
def everything(
    *,
    data: Data,
    out: Out,
    preset_name: PresetName = "default",
    seed: Seed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
    work: Work = None,
) -> None:
    """Fit, cluster, calibrate, evaluate, export and report."""
    with _screen(_work(out, work)) as screen:
        require_writable_target(out)  # before hours of training, not after
        stages = screen.fit(data, preset_name, seed, device, epochs)
        screen.cluster(stages)
        screen.calibrate(stages)
        screen.evaluate(stages, MAX_FALSE_ALARM_RATE)
        screen.export(stages, out)
        screen.report(stages, out)


@app.command("fit")
def fit_command(
    *,
    data: Data,
    out: OptionalOut = None,
    preset_name: PresetName = "default",
    seed: Seed = 0,
    device: Device = "auto",
    epochs: Epochs = None,
    work: Work = None,
) -> None:
    """Train the auto-encoder, with a checkpoint after every epoch."""
    with _screen(_work(out, work)) as screen:
        screen.fit(data, preset_name, seed, device, epochs)


@app.command("cluster")
def cluster_command(out: OptionalOut = None, work: Work = None, device: Device = "auto") -> None:
    """Group the embeddings of the training pictures."""
    with _screen(_work(out, work)) as screen:
        screen.cluster(screen.stages(device))


@app.command("calibrate")
def calibrate_command(
    out: OptionalOut = None,
    work: Work = None,
    device: Device = "auto",
    bearable: Bearable = None,
    sample: Sample = 100,
) -> None:
    """Choose the nomination radius on the held-out pictures; with --bearable the evidence level of BUNDLE too.

    `twinwatch calibrate DIR` does the latter on any pictures.
    """
    with _screen(_work(out, work)) as screen:
        stages = screen.stages(device)
        if bearable is None:
            screen.calibrate(stages)
        elif out is None or not (out / "bundle.json").exists():
            raise ConfigError("--bearable sets the levels of a bundle that is there: name it with --out")
        else:
            screen.calibrate_with_evidence(stages, out, bearable, sample)


@app.command("evaluate")
def evaluate_command(
    *,
    folder: Folder = None,
    bundle: BundleName = None,
    against: Against = "",
    edited: Edited = None,
    false_alarms: FalseAlarms = MAX_FALSE_ALARM_RATE,
    json_out: Json = None,
    picture: Picture = None,
    seed: Seed = 0,
    out: OptionalOut = None,
    work: Work = None,
    device: Device = "auto",
) -> None:
    """Recall per edit: of a run on its held-out pictures, or with DIR of a bundle on any pictures, against others.

    With DIR also what the daemon would find of all edits of some pictures, with evidence, and whom it would accuse.
    """
    with _screen(Path() if folder else _work(out, work)) as screen:
        _require_writable(json_out, picture)
        if folder is None:
            if bundle is not None or against or edited is not None or picture is not None:
                raise ConfigError("--bundle, --against, --evidence and --picture need a folder of pictures: "
                                  "twinwatch-train evaluate DIR")  # fmt: skip
            evaluation = screen.evaluate(screen.stages(device), false_alarms)
            if json_out is not None:
                save_evaluation(evaluation, json_out)
            return
        name = bundle or "default"
        names = [each.strip() for each in against.split(",") if each.strip()]
        count = WITH_EVIDENCE if edited is None else edited
        test = BundleTest(folder, names, count, max_false_alarm_rate=false_alarms, seed=seed)
        measured = measure_bundle(load_bundle(bundle_path(name)), test, screen.progress)
        screen.show_leaderboard(measured, f"{name} on {folder}")
        if json_out is not None:
            json_out.write_text(json.dumps(measured.summary(), indent=2) + "\n", encoding="utf-8")
        if picture is not None:
            screen.show_drawn(measured.draw(picture))


@app.command("export")
def export_command(out: Out, work: Work = None, device: Device = "auto") -> None:
    """Write the bundle: ONNX checked against torch, centroids, and what was measured."""
    with _screen(_work(out, work)) as screen:
        require_writable_target(out)
        screen.export(screen.stages(device), out)


@app.command("report")
def report_command(out: Out, work: Work = None, device: Device = "auto") -> None:
    """Draw losses, reconstructions, distances, clusters and worst misses beside the bundle."""
    with _screen(_work(out, work)) as screen:
        screen.report(screen.stages(device), out)


class _Screen:
    """Runs stages and shows their progress and results."""

    def __init__(self, work: Path, bars: Progress) -> None:
        self.work = work
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def progress(self, task: str, done: int, total: int, /) -> None:
        if task not in self._tasks:
            for finished in self._tasks.values():
                self._bars.remove_task(finished)
            self._tasks = {task: self._bars.add_task(task, total=total)}
        self._bars.update(self._tasks[task], completed=done)

    def stages(self, device: str) -> Stages:
        stages = Stages(self.work, choose_device(device), self.progress)
        _ = stages.trained  # raises for an unfinished run, before any work is done
        return stages

    def fit(self, data: Path, preset_name: str, seed: int, device: str, epochs: int | None) -> Stages:
        chosen = preset(preset_name)
        stages = Stages(self.work, choose_device(device), self.progress)
        total = epochs or chosen.epochs
        started = time.monotonic()

        def on_epoch(done: int, loss: EpochLoss) -> None:
            self._say(
                f"epoch {done}/{total}: loss {loss.total:.4f}, reconstruction {loss.reconstruction:.4f}, "
                f"held out {loss.held_out:.4f}, {loss.seconds:.0f} s"
            )

        trained = stages.fit(data, chosen, seed, total, on_epoch)
        for skipped in stages.skipped:
            self._say(f"left out {skipped.path}: {skipped.reason}")
        self._say(
            f"fitted {trained.settings.preset} on {len(stages.split.train)} pictures "
            f"({len(stages.split.held_out)} held out, {len(stages.skipped)} left out) "
            f"in {time.monotonic() - started:.0f} s; final loss {trained.history[-1].total:.4f}"
        )
        return stages

    def cluster(self, stages: Stages) -> None:
        self.progress("cluster", 0, 1)
        clusters = stages.cluster()
        self.progress("cluster", 1, 1)
        sizes = clusters.sizes
        self._say(f"{len(sizes)} clusters of {sizes.min()} to {sizes.max()} pictures")

    def calibrate(self, stages: Stages) -> None:
        found = stages.calibrate()
        rates = found.error_rate
        low = min(rates.edit_recall, key=lambda name: rates.edit_recall[name])
        self._say(
            f"nomination radius {found.radius:.4f}: nominates {_mean(rates.edit_recall):.1%} of edited copies "
            f"(least: {low}, {rates.edit_recall[low]:.1%}); {rates.false_alarm_rate:.1%} of new pictures have "
            f"a stranger within it, among {rates.library_pictures}"
        )

    def calibrate_with_evidence(self, stages: Stages, out: Path, bearable: float, sample: int) -> None:
        bundle, paths = load_bundle(out), stages.held_out_paths
        run = CalibrationRun(paths, bearable / 10_000, sample, limit=len(paths), seed=stages.trained.settings.seed)
        found = calibrate(run, bundle, Encoder(bundle, "cpu", threads=0), self.progress)
        self._bars.console.print(calibration_table(found))
        for line in findings(found):
            self._say(line)
        write_calibrated(bundle, found, out)

    def evaluate(self, stages: Stages, max_false_alarm_rate: float) -> Evaluation:
        evaluation = stages.evaluate(max_false_alarm_rate)
        self.show(evaluation, "held-out pictures")
        return evaluation

    def export(self, stages: Stages, out: Path) -> None:
        self.progress("export", 0, 1)
        bundle, onnx = stages.export(out)
        self.progress("export", 1, 1)
        size_kb = len(onnx.data) / 1000
        rounded = f", and 8 bits move an embedding by {onnx.int8_error:.2g}" if onnx.int8_error else ""
        self._say(
            f"ONNX equals torch within {onnx.parity_error:.2g}{rounded}; bundle {bundle.id} in {out} ({size_kb:.0f} kB)"
        )

    def report(self, stages: Stages, out: Path) -> None:
        self.progress("report", 0, 1)
        page = stages.report(out, out.with_name(out.name + ".report"))
        self.progress("report", 1, 1)
        self._say(f"report in {page}")

    def show(self, evaluation: Evaluation, title: str) -> None:
        self._say(
            f"recall by distance alone, {title}: threshold {evaluation.threshold:.4f}, within which "
            f"{evaluation.false_alarm_rate:.1%} of {evaluation.new_pictures} new pictures have a stranger, "
            f"in a library of {evaluation.library_pictures}"
        )
        self._bars.console.print(_recall_table({"distance alone %": evaluation.recall}))

    def show_leaderboard(self, measured: Measurement, title: str) -> None:
        first, detection = measured.results[0], measured.detection
        columns = {} if detection is None else {"with evidence": detection.recall}
        columns |= {each.name: each.evaluation.recall for each in measured.results}
        self._say(
            f"{title}: recall in %, by distance alone in a library of {first.evaluation.library_pictures} with as many "
            f"of {first.evaluation.new_pictures} new pictures accused as the line below says"
        )
        table = _recall_table(columns)
        rates = {each.name: f"{each.evaluation.false_alarm_rate:.2%}" for each in measured.results}
        if detection is not None:
            rates["with evidence"] = f"{len(detection.false_positives) / detection.new_pictures:.2%}"
        table.add_row("new pictures accused", *(rates[name] for name in columns))
        self._bars.console.print(table)
        for each in measured.results:
            pairs = each.pairs
            self._say(
                f"pairs, four edits: {each.name} balanced accuracy {pairs.balanced_accuracy:.1%} (recall "
                f"{pairs.recall:.1%} at {pairs.false_alarm_rate:.1%} of pairs of strangers); "
                f"{pairs.false_exact_rate:.1%} of new pictures at distance 0; "
                f"a picture and its mirror image: {each.shown}"
            )
        if detection is not None:
            self._say(
                f"with evidence: {detection.edited_pictures} pictures edited; {len(detection.false_positives)} of "
                f"{detection.new_pictures} new pictures accused, {detection.misnamed} copies called copies of another"
            )
            for wrong in detection.false_positives:
                self._say(f"accused, look whether it is a copy: {wrong.new} of {wrong.original}")

    def show_drawn(self, paths: list[Path]) -> None:
        for path in paths:
            self._say(f"drawn: {path}")

    def _say(self, line: str) -> None:
        # Without markup, as paths may contain what rich takes for it.
        self._bars.console.print(escape_controls(line), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _screen(work: Path) -> Iterator[_Screen]:
    """Show progress; turn errors and Ctrl-C into a message and an exit code."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(), transient=True,
    )  # fmt: skip
    try:
        with bars:
            yield _Screen(work, bars)
    except TwinwatchError as error:
        _fail(error)
    except KeyboardInterrupt:
        kept = escape_controls(str(work))
        typer.echo(f"\ninterrupted: give the same command again to go on from the last epoch kept in {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _work(out: Path | None, work: Path | None) -> Path:
    if work is not None:
        return work
    if out is None:
        _fail(ConfigError("name the run: --out BUNDLE (its work folder is BUNDLE.work) or --work DIR"))
    return out.with_name(out.name + ".work")


def _recall_table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    """Return recall by edit in percent, a column for each heading, with the mean after each catalogue of edits."""
    table = Table()
    table.add_column("edit")
    for heading in columns:
        table.add_column(heading, justify="right")
    for title, edits in (("mean", EDITS), ("mean of the harder", HARD_EDITS), ("", OTHER_EDITS)):
        for name in edits:
            table.add_row(name, *(f"{100 * recall[name]:.1f}" for recall in columns.values()))
        table.add_section()
        if title:
            table.add_row(title, *(f"{100 * mean_recall(recall, edits):.1f}" for recall in columns.values()))
            table.add_section()
    return table


def _require_writable(json_out: Path | None, picture: Path | None) -> None:
    """Raises ConfigError for a file that cannot be written, before minutes of measuring and not after."""
    for option, path in (("--json", json_out), ("--picture", picture)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.absolute().parent}")
    if picture is not None and picture.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--picture {picture}: the name must end in .png, .svg or .pdf")


def _mean(shares: dict[str, float]) -> float:
    return sum(shares.values()) / len(shares)


def _fail(error: TwinwatchError) -> NoReturn:
    typer.echo(f"twinwatch-train: {error}", err=True)
    raise typer.Exit(error.exit_code) from None
