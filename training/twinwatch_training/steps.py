"""The steps of a training run, each leaving in the work folder what the next ones need.

In one process they share what is already in memory; called one by one, they read it back.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from twinwatch.bundle import Bundle, load_bundle
from twinwatch.errors import ConfigError
from twinwatch_training.calibrate import Calibration, Distances, calibrate, load_distances, measure, save_distances
from twinwatch_training.cluster import Clusters, cluster, load_clusters, save_clusters
from twinwatch_training.data import Pictures, Progress, Split, edited_copies, load_pictures, split, spread
from twinwatch_training.detect import Detection, detect
from twinwatch_training.evaluate import (
    Evaluation,
    evaluate,
    halve,
    load_evaluation,
    onnx_embedder,
    save_evaluation,
)
from twinwatch_training.export import Onnx, export_onnx, write
from twinwatch_training.model import Embed, embedder
from twinwatch_training.presets import Preset, preset
from twinwatch_training.report import Measured, write_report
from twinwatch_training.train import Fitted, OnEpoch, Run, fit, load_fitted

_SAMPLES = 64  # held-out pictures on which ONNX and torch are compared
_MIN_EVALUATED = 20


class Steps:
    """One run in the folder `work`. Every step raises ConfigError when one before it is missing."""

    def __init__(self, work: Path, device: torch.device, progress: Progress) -> None:
        self.work = work
        self._device = device
        self._progress = progress

    def fit(self, data: Path, chosen: Preset, seed: int, epochs: int, on_epoch: OnEpoch) -> Fitted:
        """Train, or go on training, on the pictures below `data`."""
        self.pictures = load_pictures(data, chosen.side, self._progress)
        run = Run(str(data.resolve()), self.pictures.fingerprint, chosen.name, seed, epochs)
        self.split = split(len(self.pictures), seed)
        self.fitted = fit(
            run=run, preset=chosen, pictures=self.pictures, split=self.split, work=self.work, device=self._device,
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
        self.distances = measure(self._embed, originals, self.edited)
        save_distances(self.distances, self.work)
        return self.calibration

    def evaluate(self, false_alarms: float) -> Evaluation:
        """Measure recall on the held-out pictures, half of them the library and half new."""
        held_out = self.pictures.pixels[self.split.held_out]
        halves = halve(len(held_out), self.fitted.run.seed)
        edited = {name: pixels[halves.library] for name, pixels in self.edited.items()}
        self.evaluation = evaluate(self._embed, held_out[halves.library], held_out[halves.new], edited, false_alarms)
        save_evaluation(self.evaluation, self.work / "evaluation.json")
        return self.evaluation

    def export(self, out: Path) -> tuple[Bundle, Onnx]:
        """Export the encoder, check it against torch, and write the bundle."""
        clusters, calibration, evaluation = self.clusters, self.calibration, self.evaluation
        onnx = export_onnx(self.fitted, self.preset, self.pictures.pixels[spread(self.split.held_out, _SAMPLES)])
        bundle = write(
            out=out, onnx=onnx, fitted=self.fitted, preset=self.preset, pictures=self.pictures, split=self.split,
            clusters=clusters, calibration=calibration, evaluation=evaluation,
        )  # fmt: skip
        return bundle, onnx

    def report(self, out: Path, folder: Path) -> Path:
        """Draw the report of the bundle at `out` into `folder`."""
        measured = Measured(
            self.fitted, self.pictures, self.split, self.embeddings, self.clusters, self.distances, self.calibration,
            self.evaluation,
        )  # fmt: skip
        return write_report(folder, measured, load_bundle(out))

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

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """float32 [training pictures, 256]."""
        return self._embed(self.pictures.pixels[self.split.train])

    @cached_property
    def edited(self) -> dict[str, NDArray[np.uint8]]:
        """The held-out pictures after each edit: uint8 [Q, S, S, 3] by edit."""
        paths = [self.pictures.paths[row] for row in self.split.held_out]
        return edited_copies(paths, self.preset.side, self._progress)

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
        return embedder(self.fitted.model.to(self._device), self._device)


def detect_with(bundle: Bundle, folder: Path, edited: int, seed: int, progress: Progress) -> Detection:
    """Let a bundle and the evidence judge a folder: edits of `edited` pictures of one half, and all of the other."""
    pictures = load_pictures(folder, bundle.manifest.input_width, progress, at_least=_MIN_EVALUATED)
    halves = halve(len(pictures), seed)
    library, new = ([pictures.paths[row] for row in rows] for rows in (halves.library, halves.new))
    rows = spread(np.arange(len(library)), edited)
    return detect(bundle, library, new, rows.tolist(), progress)


def evaluate_bundle(bundle: Bundle, folder: Path, false_alarms: float, seed: int, progress: Progress) -> Evaluation:
    """Measure a bundle on any folder of pictures, half of them the library and half new."""
    side = bundle.manifest.input_width
    pictures = load_pictures(folder, side, progress, at_least=_MIN_EVALUATED)
    halves = halve(len(pictures), seed)
    edited = edited_copies([pictures.paths[row] for row in halves.library], side, progress)
    embed = onnx_embedder(bundle.encoder_path)
    return evaluate(embed, pictures.pixels[halves.library], pictures.pixels[halves.new], edited, false_alarms)
