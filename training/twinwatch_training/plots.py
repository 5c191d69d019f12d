"""Plots that the report and the leaderboard share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

COPY, NON_COPY, GREY = "#2a6f97", "#c8553d", "#666666"
_COLOURS = ("#c8553d", "#e0a030", "#8a6fb0", "#444444")
_MARKS = ("D", "s", "^", "o")


def recall_bars(title: str, ours: str, recalls: Mapping[str, Mapping[str, float]], edits: Sequence[str]) -> Figure:
    """Plot recall by edit in %: the method called `ours` as bars, the others of `recalls` as marks on the same rows."""
    figure = Figure(figsize=(9, 0.27 * len(edits) + 1.6), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(edits))
    axes.barh(rows, [100 * recalls[ours][name] for name in edits], color=COPY, alpha=0.75, label=ours)
    for number, (name, recall) in enumerate(each for each in recalls.items() if each[0] != ours):
        axes.scatter(
            [100 * recall[edit] for edit in edits], rows, s=26, label=name, zorder=3, clip_on=False,
            color=_COLOURS[number % len(_COLOURS)], marker=_MARKS[number % len(_MARKS)],
        )  # fmt: skip
    axes.set_yticks(rows, list(edits), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="recall (%)")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, ncols=len(recalls), loc="upper center", bbox_to_anchor=(0.5, -1.1 / len(edits)))
    return figure


def pair(title: str, original: NDArray[np.uint8], copy: NDArray[np.uint8], captions: Sequence[str]) -> Figure:
    """Show a picture and its copy, uint8 [H, W, 3] each, above `captions`, one line each."""
    figure = Figure(figsize=(6, 3.4 + 0.2 * len(captions)), layout="constrained")
    for axes, pixels in zip(figure.subplots(1, 2), (original, copy), strict=True):
        tile(axes, on_square(pixels))
    figure.suptitle(title, fontsize=10)
    figure.supxlabel("\n".join(captions), fontsize=9)
    return figure


def tile(axes: Axes, pixels: NDArray[np.generic]) -> None:
    """Show pixels, [H, W, 3], without ticks and frame."""
    axes.imshow(pixels, interpolation="nearest")
    axes.set_axis_off()


def on_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centre uint8 [H, W, 3] on a light grey square, [side, side, 3], on which a white border of its own is visible."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 225, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file in the format of its suffix; needs no display."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
