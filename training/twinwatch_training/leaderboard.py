"""The leaderboard: several methods on the same library, the same new pictures and the same edits.

It also repeats the experiment of the article, which classifies pairs of pictures as copies or not.
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

_ZERO_DISTANCE = 1e-4  # below this a distance is 0 but for float32 rounding
PAIR_EDIT = "mirror"
"""The edit in the article's figure of a picture and its copy."""


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """The article's measure: positive pairs by its four edits against as many random negative pairs.

    `balanced_accuracy`: the mean of `recall` and 1 - `false_alarm_rate` (of negative pairs), at the L2 `threshold`
    where it is highest. `false_exact_rate`: the share of new pictures at distance 0, where only exact copies should be.
    """

    balanced_accuracy: float
    threshold: float
    recall: float
    false_alarm_rate: float
    false_exact_rate: float
    shown: float  # L2 distance of the pair that the figure shows


@dataclass(frozen=True, slots=True)
class LibraryAndNew:
    """The pictures of a folder in two parts that share none: the library, and pictures that are new to it."""

    library: list[Path]
    new: list[Path]


@dataclass(frozen=True, slots=True)
class MethodResult:
    """The results of one method."""

    name: str
    bits: int  # of a hash; 0 for an encoder
    evaluation: Evaluation
    pairs: PairAccuracy

    @property
    def shown(self) -> str:
        """The distance of the article's pair in the unit of this method: bits or L2."""
        far = self.pairs.shown
        return f"{self.name}: {round(far**2)} of {self.bits} bits" if self.bits else f"{self.name}: L2 {far:.3f}"

    def summary(self) -> dict[str, Any]:
        """Return the figures as values for JSON."""
        return asdict(self) | {"evaluation": self.evaluation.summary()}


def leaderboard(
    methods: Sequence[Method], pictures: LibraryAndNew, max_false_alarm_rate: float, seed: int, progress: Progress
) -> list[MethodResult]:
    """Measure every method on all edits of the library, at most a share `max_false_alarm_rate` of new ones accused."""
    library = pictures.library
    vectors = _vectors(methods, [*library, *pictures.new], lambda path: [path.read_bytes()], "read", progress)
    copies = _vectors(methods, library, edited_bytes, "edit", progress)
    results = []
    for method, embedded, made in zip(methods, vectors, copies, strict=True):
        known, fresh = embedded[: len(library), 0], embedded[len(library) :, 0]  # [L, D], [M, D]
        edited = {name: made[:, column] for column, name in enumerate(ALL_EDITS)}  # [L, D] by edit
        evaluation = evaluate(known, fresh, edited, max_false_alarm_rate)
        results.append(MethodResult(method.name, method.bits, evaluation, _pair_accuracy(known, fresh, edited, seed)))
    return results


def best_split(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Find the threshold on distances of pairs, float32 [P] each, with the highest balanced accuracy.

    Returns (balanced accuracy, threshold, recall, false alarm rate).
    """
    thresholds = np.unique(np.concatenate([positive, negative]))  # [T]
    recall = np.searchsorted(np.sort(positive), thresholds, side="right") / len(positive)  # [T]
    alarms = np.searchsorted(np.sort(negative), thresholds, side="right") / len(negative)  # [T]
    balanced = (recall + 1 - alarms) / 2
    best = int(balanced.argmax())
    return float(balanced[best]), float(thresholds[best]), float(recall[best]), float(alarms[best])


def _pair_accuracy(
    known: NDArray[np.float32], fresh: NDArray[np.float32], edited: dict[str, NDArray[np.float32]], seed: int
) -> PairAccuracy:
    offsets = np.random.default_rng(seed).integers(1, len(known), len(known))
    others = known[(np.arange(len(known)) + offsets) % len(known)]  # [L, D], never the picture itself
    positive = [np.linalg.norm(edited[name] - known, axis=1) for name in SEED_EDITS]
    negative = [np.linalg.norm(edited[name] - others, axis=1) for name in SEED_EDITS]
    exact = float(np.mean(pairwise(fresh, known).min(axis=1) < _ZERO_DISTANCE))
    shown = float(np.linalg.norm(edited[PAIR_EDIT][0] - known[0]))
    return PairAccuracy(*best_split(np.concatenate(positive), np.concatenate(negative)), exact, shown)


def _vectors(
    methods: Sequence[Method], paths: Sequence[Path], contents: Callable[[Path], Iterable[bytes]], task: str,
    progress: Progress,
) -> list[NDArray[np.float32]]:  # fmt: skip
    """Embed with every method the files that `contents` makes of each path: float32 [paths, contents, D] by method."""

    def take(path: Path) -> list[list[NDArray[np.uint8]]]:
        return [[method.take(data) for method in methods] for data in contents(path)]

    rows: list[list[NDArray[np.float32]]] = [[] for _ in methods]
    with in_threads(take, paths) as taken:
        for done, found in enumerate(taken, 1):
            for column, method in enumerate(methods):
                rows[column].append(method.embed(np.stack([each[column] for each in found])))
            progress(task, done, len(paths))
    return [np.stack(each) for each in rows]
