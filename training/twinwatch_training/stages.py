"""The stages of a training run. Each writes to the work folder what later stages need.

In one process the stages share what is in memory; in processes of their own they read it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS
from twinwatch.decoding import MAX_MEGAPIXELS, decode_fit
from twinwatch.errors import ConfigError
from twinwatch.search import Bundle, load_bundle
from twinwatch_training.baselines import baselines, encoder_method, installed_baselines
from twinwatch_training.calibrate import Calibration, Distances, calibrate, load_distances, measure, save_distances
from twinwatch_training.checkpoint import RunSettings, TrainedModel, load_trained
from twinwatch_training.cluster import Clusters, cluster, load_clusters, save_clusters
from twinwatch_training.data import Pictures, Progress, Split, edited_copies, load_pictures, split, spread
from twinwatch_training.end_to_end import Detection, detect
from twinwatch_training.evaluate import (
    Evaluation,
    evaluate,
    halve,
    load_evaluation,
    onnx_embedder,
    save_evaluation,
)
from twinwatch_training.export import Onnx, RunResults, export_onnx, write
from twinwatch_training.leaderboard import PAIR_EDIT, LibraryAndNew, MethodResult, leaderboard
from twinwatch_training.model import Embed
from twinwatch_training.plots import pair, recall_bars, save
from twinwatch_training.presets import Preset, preset
from twinwatch_training.report import ReportData, write_report
from twinwatch_training.train import OnEpoch, TrainingRun, fit

_SAMPLES = 64  # held-out pictures on which ONNX and torch are compared
_TYPICAL = 512  # training pictures on which quantisation measures the range of each layer
_MIN_EVALUATED = 20
_SHOWN_SIDE = 512  # pixels


class Stages:
    """One training run in the folder `work`. A stage raises ConfigError if one before it has not run."""

    def __init__(self, work: Path, device: torch.device, progress: Progress) -> None:
        self.work = work
        self._device = device
        self._progress = progress

    def fit(self, data: Path, chosen: Preset, seed: int, epochs: int, on_epoch: OnEpoch) -> TrainedModel:
        """Train on the pictures below `data`, from the last checkpoint on if there is one."""
        pictures = load_pictures(data, chosen.source_side, self._progress)
        settings = RunSettings(str(data.resolve()), pictures.fingerprint, chosen.name, seed, epochs)
        self.split = split(len(pictures), seed)
        self.skipped = pictures.skipped
        run = TrainingRun(settings, chosen, pictures, self.split, self.work, self._device)
        self.trained = fit(run, self._progress, on_epoch)
        return self.trained

    def cluster(self) -> Clusters:
        """Cluster the embeddings of the training pictures."""
        self.clusters = cluster(self.embeddings, self.preset.clusters, self.trained.settings.seed)
        save_clusters(self.clusters, self.work)
        return self.clusters

    def calibrate(self) -> Calibration:
        """Measure distances on the held-out pictures and choose the nomination radius."""
        originals = self.pictures.pixels[self.split.held_out]  # [Q, S, S, 3]
        self.distances = measure(self._embed, originals, self.edited, self.clusters.centroids)
        save_distances(self.distances, self.work)
        return self.calibration

    def evaluate(self, max_false_alarm_rate: float) -> Evaluation:
        """Measure recall on the held-out pictures, half of them as the library and half as new."""
        held_out = self.pictures.pixels[self.split.held_out]  # [Q, S, S, 3]
        halves = halve(len(held_out), self.trained.settings.seed)
        edited = {name: self._embed(pixels[halves.library]) for name, pixels in self.edited.items()}
        library, new = self._embed(held_out[halves.library]), self._embed(held_out[halves.new])
        self.evaluation = evaluate(library, new, edited, max_false_alarm_rate)
        save_evaluation(self.evaluation, self.work / "evaluation.json")
        return self.evaluation

    def export(self, out: Path) -> tuple[Bundle, Onnx]:
        """Write the bundle to `out`."""
        results = self.results  # first, as it tells which stage is missing, before the encoder is exported
        return write(out, self.onnx, results), self.onnx

    def report(self, out: Path, folder: Path) -> Path:
        """Write the report of the bundle at `out` to `folder` and return the path of its page."""
        data = ReportData(self.results, self.embeddings, self.distances, self._measure_baselines())
        return write_report(folder, data, load_bundle(out))

    def _measure_baselines(self) -> dict[str, Evaluation]:
        """Evaluate the installed baselines on the same halves of the held-out pictures."""
        seed = self.trained.settings.seed
        halves = halve(len(self.split.held_out), seed)
        library, new = (
            [self.pictures.paths[row] for row in self.split.held_out[rows]] for rows in (halves.library, halves.new)
        )
        found = leaderboard(
            installed_baselines(), LibraryAndNew(library, new), self.evaluation.false_alarm_rate, seed, self._progress
        )
        return {each.name: each.evaluation for each in found}

    @property
    def results(self) -> RunResults:
        """What the stages before `export` found."""
        clusters, calibration, evaluation = self.clusters, self.calibration, self.evaluation
        return RunResults(self.trained, self.pictures, self.split, clusters, calibration, evaluation)

    @property
    def preset(self) -> Preset:
        """The preset of the run."""
        return self.trained.preset

    @property
    def calibration(self) -> Calibration:
        """The radius and its error rates, computed from the distances."""
        return calibrate(self.distances, self.preset.target_recall, self.preset.max_false_nomination_rate)

    @cached_property
    def trained(self) -> TrainedModel:
        """The trained model."""
        return load_trained(self.work, preset, self._device)

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures of the run at the encoder's size. Raises ConfigError if they have changed since."""
        settings = self.trained.settings
        found = load_pictures(Path(settings.data), self.preset.side, self._progress)
        if found.fingerprint != settings.fingerprint:
            raise ConfigError(
                f"the pictures below {settings.data} have changed since {self.work} was trained; train again"
            )
        return found

    @cached_property
    def split(self) -> Split:
        """Which pictures were trained on and which are held out."""
        return split(len(self.pictures), self.trained.settings.seed)

    @property
    def held_out_paths(self) -> list[Path]:
        """The pictures that were not trained on."""
        return [self.pictures.paths[row] for row in self.split.held_out]

    @cached_property
    def onnx(self) -> Onnx:
        """The encoder as it is shipped, checked against torch. Clusters, radius and recall are measured with it."""
        sample, typical = (
            self.pictures.pixels[spread(rows, count)]
            for rows, count in ((self.split.held_out, _SAMPLES), (self.split.train, _TYPICAL))
        )
        return export_onnx(self.trained, sample, typical)

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """float32 [training pictures, 256]."""
        return self._embed(self.pictures.pixels[self.split.train])

    @cached_property
    def edited(self) -> dict[str, NDArray[np.uint8]]:
        """The held-out pictures after each edit: uint8 [Q, S, S, 3] by edit."""
        return edited_copies(self.held_out_paths, self.preset.side, self._progress)

    @cached_property
    def clusters(self) -> Clusters:
        """The result of `cluster`."""
        return load_clusters(self.work)

    @cached_property
    def distances(self) -> Distances:
        """What `calibrate` measured, from which the radius follows."""
        return load_distances(self.work)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The result of `evaluate`."""
        return load_evaluation(self.work)

    @property
    def _embed(self) -> Embed:
        return onnx_embedder(self.onnx.data)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A bundle measured on a folder of pictures.

    `results`: the bundle, then its baselines, by distance alone. `detection`: the bundle with evidence, if asked for.
    `example`: the picture of the article's figure of a pair.
    """

    results: list[MethodResult]
    detection: Detection | None
    example: Path

    def summary(self) -> dict[str, Any]:
        """Return the figures as values for JSON: the bundle's own, then those of every method."""
        values = self.results[0].evaluation.summary()
        if self.detection is not None:
            values["with_evidence"] = self.detection.summary()
        return values | {"standings": {each.name: each.summary() for each in self.results}}

    def draw(self, path: Path) -> list[Path]:
        """Plot recall by edit to `path` and the article's pair to a file beside it. Return the paths of both."""
        recalls = {each.name: each.evaluation.recall for each in self.results}
        if self.detection is not None:
            recalls["with evidence"] = self.detection.recall
        rates = ", ".join(f"{each.name} {each.evaluation.false_alarm_rate:.1%}" for each in self.results)
        title = f"Recall by edit, by distance alone; new pictures accused:\n{rates}"
        save(recall_bars(title, self.results[0].name, recalls, list(ALL_EDITS)), path)
        beside = path.with_name(f"{path.stem}-pair{path.suffix}")
        original = decode_fit(self.example.read_bytes(), _SHOWN_SIDE, MAX_MEGAPIXELS).pixels
        copy, captions = ALL_EDITS[PAIR_EDIT](original), [each.shown for each in self.results]
        save(pair("A picture, its mirror image, and how far apart they are", original, copy, captions), beside)
        return [path, beside]


@dataclass(frozen=True, slots=True)
class BundleTest:
    """What is asked of a measurement of a bundle.

    `baselines`: names of the methods to compare with. `edited`: how many library pictures are edited in every way and
    searched for with evidence; 0 for no evidence. `max_false_alarm_rate`: the share of new pictures that may be accused
    by distance alone. `seed` draws the library.
    """

    folder: Path
    baselines: Sequence[str]
    edited: int
    max_false_alarm_rate: float
    seed: int


def measure_bundle(bundle: Bundle, test: BundleTest, progress: Progress) -> Measurement:
    """Measure a bundle on any folder of pictures, half of them as the library and half as new."""
    methods = [encoder_method("twinwatch", bundle), *baselines(test.baselines)]
    pictures = load_pictures(test.folder, bundle.manifest.input_width, progress, at_least=_MIN_EVALUATED)
    halves = halve(len(pictures), test.seed)
    library, new = ([pictures.paths[row] for row in rows] for rows in (halves.library, halves.new))
    results = leaderboard(methods, LibraryAndNew(library, new), test.max_false_alarm_rate, test.seed, progress)
    edited = spread(np.arange(len(library)), test.edited).tolist() if test.edited else []
    detection = detect(bundle, library, new, edited, progress) if edited else None
    return Measurement(results, detection, library[0])
