"""The command line of training: one command for the whole run, and one for each stage.

It reads arguments and calls the screen; only these two modules print or exit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from twinwatch import __version__
from twinwatch.cli import SafeGroup
from twinwatch.errors import ConfigError
from twinwatch.search import bundle_path, load_bundle, require_writable_target
from twinwatch_training.evaluate import save_evaluation
from twinwatch_training.screen import fail, open_screen
from twinwatch_training.stages import BundleTest, measure_bundle

COMMANDS = ("all", "fit", "cluster", "calibrate", "evaluate", "export", "report")

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
    with open_screen(_work(out, work)) as screen:
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
    with open_screen(_work(out, work)) as screen:
        screen.fit(data, preset_name, seed, device, epochs)


@app.command("cluster")
def cluster_command(out: OptionalOut = None, work: Work = None, device: Device = "auto") -> None:
    """Group the embeddings of the training pictures."""
    with open_screen(_work(out, work)) as screen:
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
    with open_screen(_work(out, work)) as screen:
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
    with open_screen(Path() if folder else _work(out, work)) as screen:
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
    with open_screen(_work(out, work)) as screen:
        require_writable_target(out)
        screen.export(screen.stages(device), out)


@app.command("report")
def report_command(out: Out, work: Work = None, device: Device = "auto") -> None:
    """Draw losses, reconstructions, distances, clusters and worst misses beside the bundle."""
    with open_screen(_work(out, work)) as screen:
        screen.report(screen.stages(device), out)


def _work(out: Path | None, work: Path | None) -> Path:
    if work is not None:
        return work
    if out is None:
        fail(ConfigError("name the run: --out BUNDLE (its work folder is BUNDLE.work) or --work DIR"))
    return out.with_name(out.name + ".work")


def _require_writable(json_out: Path | None, picture: Path | None) -> None:
    """Raises ConfigError for a file that cannot be written, before minutes of measuring and not after."""
    for option, path in (("--json", json_out), ("--picture", picture)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.absolute().parent}")
    if picture is not None and picture.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--picture {picture}: the name must end in .png, .svg or .pdf")
