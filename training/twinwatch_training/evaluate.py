"""Recall by edit at a fixed rate of false alarms among new pictures.

Distance alone decides here. What the daemon finds with evidence is measured in `end_to_end`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from twinwatch.calibration import EDITS, HARD_EDITS
from twinwatch.errors import ConfigError
from twinwatch_training.calibrate import pairwise
from twinwatch_training.model import Embed


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`recall` by edit, 0 to 1, at the L2 `threshold` where a share `false_alarm_rate` of new pictures is accused."""

    false_alarm_rate: float
    threshold: float
    library_pictures: int
    new_pictures: int
    recall: dict[str, float]

    @property
    def mean_recall(self) -> float:
        """The mean over EDITS, which every copy detector should find."""
        return mean_recall(self.recall, EDITS)

    @property
    def hard_recall(self) -> float:
        """The mean over HARD_EDITS."""
        return mean_recall(self.recall, HARD_EDITS)

    def summary(self) -> dict[str, Any]:
        """Return the figures as values for JSON."""
        return asdict(self) | {"mean_recall": self.mean_recall, "hard_recall": self.hard_recall}


@dataclass(frozen=True, slots=True)
class Halves:
    """The rows of the pictures taken as the library and of those taken as new."""

    library: NDArray[np.int64]
    new: NDArray[np.int64]


def mean_recall(recall: Mapping[str, float], edits: Iterable[str]) -> float:
    """Return the unweighted mean over `edits`."""
    return float(np.mean([recall[name] for name in edits]))


def halve(count: int, seed: int) -> Halves:
    """Split `count` pictures at random, by `seed`, into a library and as many new ones."""
    order = np.random.default_rng(seed).permutation(count)
    return Halves(np.sort(order[: count // 2]), np.sort(order[count // 2 :]))


def evaluate(
    library: NDArray[np.float32],
    new: NDArray[np.float32],
    edited: Mapping[str, NDArray[np.float32]],
    max_false_alarm_rate: float,
) -> Evaluation:
    """Measure recall at the largest threshold where at most a share `max_false_alarm_rate` of new pictures is accused.

    All arrays are embeddings: `library` float32 [L, D], `new` [M, D], and by edit [L, D], row i a copy of row i of
    `library`.
    """
    nearest = np.sort(pairwise(new, library).min(axis=1))  # [M]
    allowed = int(max_false_alarm_rate * len(nearest))
    threshold = np.inf if allowed >= len(nearest) else float(np.nextafter(nearest[allowed], np.float32(-1)))
    recall = {
        name: float(np.mean(np.linalg.norm(copies - library, axis=1) <= threshold)) for name, copies in edited.items()
    }
    false_alarm_rate = float(np.mean(nearest <= threshold))
    return Evaluation(false_alarm_rate, threshold, len(library), len(new), recall)


def onnx_embedder(model: Path | bytes, batch: int = 256, threads: int = 0) -> Embed:
    """Return a function that embeds with ONNX Runtime on the CPU, as the daemon does; 0 threads means all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )

    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        starts = range(0, len(pixels), batch)
        return np.concatenate([session.run(None, {"pixels": pixels[i : i + batch]})[0] for i in starts])

    return embed


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write the figures as JSON."""
    values = evaluation.summary()
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def load_evaluation(work: Path) -> Evaluation:
    """Read the evaluation from `work`. Raises ConfigError when there is none."""
    path = work / "evaluation.json"
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `twinwatch-train evaluate --work {work}` first")
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["mean_recall"], values["hard_recall"]
    return Evaluation(**values)
