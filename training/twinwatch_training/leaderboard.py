"""The leaderboard: several methods on the same library, the same new pictures and the same edits.

Also the experiment of the article that the project grew from, which asks about pairs and not about new pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, SEED_EDITS, edited_bytes
from twinwatch_training.baselines import Method
from twinwatch_training.calibrate import pairwise
from twinwatch_training.data import Progress, in_threads
from twinwatch_training.evaluate import Evaluation, evaluate

_SAME = 1e-4  # what float32 makes of a distance of 0
PAIR_EDIT = "mirror"
"""What the article's figure shows of a picture and its copy."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The article's measure, over pairs: copies of its four edits against as many random pairs of strangers.

    `balanced_accuracy` is the mean of the two shares that are right, at the L2 `threshold` where it is highest:
    `recall` of the copies, and all but `false_alarm_rate` of the strangers. A copy byte for byte lies at distance 0;
    `false_exact_rate` is the share of new pictures that do so too.
    """

    balanced_accuracy: float
    threshold: float
    recall: float
    false_alarm_rate: float
    false_exact_rate: float
    shown: float  # distance of the pair that the picture shows


@dataclass(frozen=True, slots=True)
class Standing:
    """One method's results."""

    name: str
    bits: int  # of a hash, 0 of an encoder
    evaluation: Evaluation
    pairs: Pairs

    @property
    def shown(self) -> str:
        """The distance of the article's pair, as one would quote it for this method."""
        far = self.pairs.shown
        return f"{self.name}: {round(far**2)} of {self.bits} bits" if self.bits else f"{self.name}: L2 {far:.3f}"

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        return asdict(self) | {"evaluation": self.evaluation.summary()}


def leaderboard(
    methods: Sequence[Method], library: Sequence[Path], new: Sequence[Path], false_alarms: float, seed: int,
    progress: Progress,
) -> list[Standing]:  # fmt: skip
    """Measure every method on edited copies of `library`, where at most a share `false_alarms` of `new` is accused."""
    pictures = [*library, *new]
    vectors = _vectors(methods, pictures, lambda path: [path.read_bytes()], "read", progress)
    copies = _vectors(methods, library, edited_bytes, "edit", progress)
    standings = []
    for method, embedded, made in zip(methods, vectors, copies, strict=True):
        known, fresh = embedded[: len(library), 0], embedded[len(library) :, 0]  # [L, D], [M, D]
        edited = {name: made[:, place] for place, name in enumerate(ALL_EDITS)}  # [L, D] by edit
        evaluation = evaluate(known, fresh, edited, false_alarms)
        standings.append(Standing(method.name, method.bits, evaluation, _article(known, fresh, edited, seed)))
    return standings


def best_split(copies: NDArray[np.float32], strangers: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """(balanced accuracy, threshold, recall, false-alarm rate) at the threshold on distances that is best for pairs."""
    thresholds = np.unique(np.concatenate([copies, strangers]))  # [T]
    recall = np.searchsorted(np.sort(copies), thresholds, side="right") / len(copies)
    alarms = np.searchsorted(np.sort(strangers), thresholds, side="right") / len(strangers)
    balanced = (recall + 1 - alarms) / 2
    best = int(balanced.argmax())
    return float(balanced[best]), float(thresholds[best]), float(recall[best]), float(alarms[best])


def _article(
    known: NDArray[np.float32], fresh: NDArray[np.float32], edited: dict[str, NDArray[np.float32]], seed: int
) -> Pairs:
    apart = np.random.default_rng(seed).integers(1, len(known), len(known))
    others = known[(np.arange(len(known)) + apart) % len(known)]  # [L, D], never the picture itself
    copies = [np.linalg.norm(edited[name] - known, axis=1) for name in SEED_EDITS]
    strangers = [np.linalg.norm(edited[name] - others, axis=1) for name in SEED_EDITS]
    exact = float(np.mean(pairwise(fresh, known).min(axis=1) < _SAME))
    shown = float(np.linalg.norm(edited[PAIR_EDIT][0] - known[0]))
    return Pairs(*best_split(np.concatenate(copies), np.concatenate(strangers)), exact, shown)


def _vectors(
    methods: Sequence[Method], paths: Sequence[Path], contents: Callable[[Path], Iterable[bytes]], task: str,
    progress: Progress,
) -> list[NDArray[np.float32]]:  # fmt: skip
    """What every method makes of the contents that come of each path: float32 [paths, contents, D] by method."""

    def take(path: Path) -> list[list[NDArray[np.uint8]]]:
        return [[method.take(data) for method in methods] for data in contents(path)]

    rows: list[list[NDArray[np.float32]]] = [[] for _ in methods]
    with in_threads(take, paths) as taken:
        for done, found in enumerate(taken, 1):
            for column, method in enumerate(methods):
                rows[column].append(method.embed(np.stack([each[column] for each in found])))
            progress(task, done, len(paths))
    return [np.stack(each) for each in rows]
