"""What a user of the command line sees: progress, the results of each stage, errors and their exit codes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from twinwatch.calibration import (
    EDITS,
    HARD_EDITS,
    OTHER_EDITS,
    CalibrationRun,
    calibrate,
    findings,
    write_calibrated,
)
from twinwatch.cli import calibration_table
from twinwatch.errors import TwinwatchError
from twinwatch.search import Encoder, load_bundle
from twinwatch.wording import escape_controls
from twinwatch_training.checkpoint import EpochLoss
from twinwatch_training.evaluate import Evaluation, mean_recall
from twinwatch_training.presets import preset
from twinwatch_training.stages import Measurement, Stages
from twinwatch_training.train import choose_device

INTERRUPTED = 130  # the exit code of a shell for SIGINT: 128 + 2


class Screen:
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
def open_screen(work: Path) -> Iterator[Screen]:
    """Show progress; turn errors and Ctrl-C into a message and an exit code."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(), transient=True,
    )  # fmt: skip
    try:
        with bars:
            yield Screen(work, bars)
    except TwinwatchError as error:
        fail(error)
    except KeyboardInterrupt:
        kept = escape_controls(str(work))
        typer.echo(f"\ninterrupted: give the same command again to go on from the last epoch kept in {kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def fail(error: TwinwatchError) -> NoReturn:
    """Print an error and exit with its code."""
    typer.echo(f"twinwatch-train: {error}", err=True)
    raise typer.Exit(error.exit_code) from None


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


def _mean(shares: dict[str, float]) -> float:
    return sum(shares.values()) / len(shares)
