"""The steps of a training run, each leaving in the work folder what the next ones need.

In one process they share what is already in memory; called one by one, they read it back.
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
from twinwatch_training.baselines import encoder_method, installed_peers, peers
from twinwatch_training.calibrate import Calibration, Distances, calibrate, load_distances, measure, save_distances
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
from twinwatch_training.export import Onnx, export_onnx, write
from twinwatch_training.leaderboard import PAIR_EDIT, Standing, leaderboard
from twinwatch_training.model import Embed
from twinwatch_training.plots import pair, recall_bars, save
from twinwatch_training.presets import Preset, preset
from twinwatch_training.report import Measured, write_report
from twinwatch_training.train import Fitted, OnEpoch, Run, fit, load_fitted

_SAMPLES = 64  # held-out pictures on which ONNX and torch are compared
_TYPICAL = 512  # training pictures that tell the range of each layer
_MIN_EVALUATED = 20
_SHOWN_SIDE = 512


class Steps:
    """One run in the folder `work`. Every step raises ConfigError when one before it is missing."""

    def __init__(self, work: Path, device: torch.device, progress: Progress) -> None:
        self.work = work
        self._device = device
        self._progress = progress

    def fit(self, data: Path, chosen: Preset, seed: int, epochs: int, on_epoch: OnEpoch) -> Fitted:
        """Train, or go on training, on the pictures below `data`."""
        detailed = load_pictures(data, chosen.source_side, self._progress)
        run = Run(str(data.resolve()), detailed.fingerprint, chosen.name, seed, epochs)
        self.split = split(len(detailed), seed)
        self.skipped = detailed.skipped
        self.fitted = fit(
            run=run, preset=chosen, pictures=detailed, split=self.split, work=self.work, device=self._device,
            progress=self._progress, on_epoch=on_epoch,
        )  # fmt: skip
        return self.fitted

    def cluster(self) -> Clusters:
        """Group the embeddings of the training pictures."""
        self.clusters = cluster(self.embeddings, self.preset.clusters, self.fitted.run.seed)
        save_clusters(self.clusters, self.work)
        return self.clusters

    def calibrate(self) -> Calibration:
        """Measure distances on the held-out pictures and choose the nomination radius."""
        originals = self.pictures.pixels[self.split.held_out]  # [Q, S, S, 3]
        self.distances = measure(self._embed, originals, self.edited, self.clusters.centroids)
        save_distances(self.distances, self.work)
        return self.calibration

    def evaluate(self, false_alarms: float) -> Evaluation:
        """Measure recall on the held-out pictures, half of them the library and half new."""
        held_out = self.pictures.pixels[self.split.held_out]
        halves = halve(len(held_out), self.fitted.run.seed)
        edited = {name: self._embed(pixels[halves.library]) for name, pixels in self.edited.items()}
        library, new = self._embed(held_out[halves.library]), self._embed(held_out[halves.new])
        self.evaluation = evaluate(library, new, edited, false_alarms)
        save_evaluation(self.evaluation, self.work / "evaluation.json")
        return self.evaluation

    def export(self, out: Path) -> tuple[Bundle, Onnx]:
        """Write the bundle."""
        clusters, calibration, evaluation = self.clusters, self.calibration, self.evaluation
        bundle = write(
            out=out, onnx=self.onnx, fitted=self.fitted, preset=self.preset, pictures=self.pictures, split=self.split,
            clusters=clusters, calibration=calibration, evaluation=evaluation,
        )  # fmt: skip
        return bundle, self.onnx

    def report(self, out: Path, folder: Path) -> Path:
        """Draw the report of the bundle at `out` into `folder`."""
        measured = Measured(
            self.fitted, self.pictures, self.split, self.embeddings, self.clusters, self.distances, self.calibration,
            self.evaluation, self._others(),
        )  # fmt: skip
        return write_report(folder, measured, load_bundle(out))

    def _others(self) -> dict[str, Evaluation]:
        """What else one would use, measured as this run was."""
        halves = halve(len(self.split.held_out), self.fitted.run.seed)
        library, new = (
            [self.pictures.paths[row] for row in self.split.held_out[rows]] for rows in (halves.library, halves.new)
        )
        standings = leaderboard(
            installed_peers(), library, new, self.evaluation.false_alarm_rate, self.fitted.run.seed, self._progress
        )
        return {each.name: each.evaluation for each in standings}

    @property
    def preset(self) -> Preset:
        """The preset of the run."""
        return preset(self.fitted.run.preset)

    @property
    def calibration(self) -> Calibration:
        """Follows from the distances."""
        return calibrate(self.distances, self.preset.copies_within, self.preset.strangers_within)

    @cached_property
    def fitted(self) -> Fitted:
        """The trained model."""
        return load_fitted(self.work, preset, self._device)

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures of the run, as they were when it was trained."""
        run = self.fitted.run
        found = load_pictures(Path(run.data), self.preset.side, self._progress)
        if found.fingerprint != run.fingerprint:
            raise ConfigError(f"the pictures below {run.data} have changed since {self.work} was trained; train again")
        return found

    @cached_property
    def split(self) -> Split:
        """Which pictures were learned from."""
        return split(len(self.pictures), self.fitted.run.seed)

    @property
    def held_out_paths(self) -> list[Path]:
        """The pictures that were not learned from."""
        return [self.pictures.paths[row] for row in self.split.held_out]

    @cached_property
    def onnx(self) -> Onnx:
        """The encoder as it ships, checked against torch; clusters, radius and recall are measured with it."""
        sample, typical = (
            self.pictures.pixels[spread(rows, count)]
            for rows, count in ((self.split.held_out, _SAMPLES), (self.split.train, _TYPICAL))
        )
        return export_onnx(self.fitted, self.preset, sample, typical)

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
        """What `cluster` found."""
        return load_clusters(self.work)

    @cached_property
    def distances(self) -> Distances:
        """What `calibrate` measured."""
        return load_distances(self.work)

    @cached_property
    def evaluation(self) -> Evaluation:
        """What `evaluate` measured."""
        return load_evaluation(self.work)

    @property
    def _embed(self) -> Embed:
        return onnx_embedder(self.onnx.data)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A bundle on a folder: itself and the methods it stands against by distance alone, the bundle first; and what
    the daemon would find with evidence, if that was asked for."""

    standings: list[Standing]
    detection: Detection | None
    example: Path  # the picture that the article's pair shows

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON has them: the bundle's own, then everyone's."""
        values = self.standings[0].evaluation.summary()
        if self.detection is not None:
            values["with_evidence"] = self.detection.summary()
        return values | {"standings": {each.name: each.summary() for each in self.standings}}

    def draw(self, path: Path) -> list[Path]:
        """Draw recall by edit, each edit's bar beside the others' marks, to `path`, and the pair beside it."""
        recalls = {each.name: each.evaluation.recall for each in self.standings}
        if self.detection is not None:
            recalls["with evidence"] = self.detection.recall
        rates = ", ".join(f"{each.name} {each.evaluation.false_alarm_rate:.1%}" for each in self.standings)
        title = f"Recall by edit, by distance alone; new pictures accused:\n{rates}"
        save(recall_bars(title, self.standings[0].name, recalls, list(ALL_EDITS)), path)
        beside = path.with_name(f"{path.stem}-pair{path.suffix}")
        original = decode_fit(self.example.read_bytes(), _SHOWN_SIDE, MAX_MEGAPIXELS).pixels
        captions = [each.shown for each in self.standings]
        save(
            pair(
                "A picture, its mirror image, and how far apart they are",
                original,
                ALL_EDITS[PAIR_EDIT](original),
                captions,
            ),
            beside,
        )
        return [path, beside]


def measure_bundle(
    bundle: Bundle, folder: Path, against: Sequence[str], edited: int, false_alarms: float, seed: int,
    progress: Progress,
) -> Measurement:  # fmt: skip
    """Measure a bundle on any folder of pictures, half of them the library and half new.

    Evidence judges all new pictures and every edit of `edited` library pictures.
    """
    methods = [encoder_method("twinwatch", bundle), *peers(against)]
    pictures = load_pictures(folder, bundle.manifest.input_width, progress, at_least=_MIN_EVALUATED)
    halves = halve(len(pictures), seed)
    library, new = ([pictures.paths[row] for row in rows] for rows in (halves.library, halves.new))
    standings = leaderboard(methods, library, new, false_alarms, seed, progress)
    judged = spread(np.arange(len(library)), edited).tolist() if edited else []
    detection = detect(bundle, library, new, judged, progress) if judged else None
    return Measurement(standings, detection, library[0])
