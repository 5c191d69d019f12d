"""The report of a training run: a folder with one page, `index.html`, and its figures.

It shows what the other stages measured and decides nothing.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, EDITS, HARD_EDITS, edit_file
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact, decode_fit
from twinwatch.evidence import EVIDENCE_SIDE, compare
from twinwatch.search import Bundle
from twinwatch.wording import escape_controls
from twinwatch_training.calibrate import Distances
from twinwatch_training.checkpoint import EpochLoss
from twinwatch_training.data import spread
from twinwatch_training.evaluate import Evaluation
from twinwatch_training.export import RunResults
from twinwatch_training.model import to_float
from twinwatch_training.plots import COPY, GREY, NON_COPY, on_square, recall_bars, save, tile

_CLUSTERS_SHOWN = 20
_MEMBERS_SHOWN = 12
_FARTHEST_SHOWN = 3
_RECONSTRUCTIONS_SHOWN = 12
_PAIRS_SHOWN = 10
_THUMBNAIL = 128
_DISTANCE = "L2 distance, less the remoteness of the newcomer"


@dataclass(frozen=True, slots=True)
class ReportData:
    """What the report shows.

    `embeddings`: float32 [training pictures, 256]. `baselines`: other methods by name, measured on the same pictures.
    """

    results: RunResults
    embeddings: NDArray[np.float32]
    distances: Distances
    baselines: dict[str, Evaluation]


def write_report(folder: Path, report: ReportData, bundle: Bundle) -> Path:
    """Write every figure and the page to `folder`, and return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    save(loss_curve(report.results.trained.history), folder / "loss.png")
    save(reconstructions(report), folder / "reconstructions.png")
    save(distance_histogram(report), folder / "distances.png")
    save(contact_sheets(report), folder / "clusters.png")
    save(threshold_curve(report), folder / "thresholds.png")
    save(recall_against_baselines(report), folder / "recall.png")
    save(worst_misses(report), folder / "misses.png")
    save(nearest_non_copies(report), folder / "strangers.png")
    page = folder / "index.html"
    page.write_text(_page(report, bundle), encoding="utf-8")
    return page


def loss_curve(history: Sequence[EpochLoss]) -> Figure:
    """Plot the total loss by epoch, of training and held-out pictures, above the reconstruction loss."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    whole, part = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    epochs = np.arange(1, len(history) + 1)
    style = {"marker": "o", "markersize": 3}
    whole.plot(epochs, [each.total for each in history], color=COPY, label="training", **style)
    whole.plot(epochs, [each.held_out for each in history], color=NON_COPY, label="held out", **style)
    seconds = sum(each.seconds for each in history)
    whole.set(ylabel="loss", title=f"Loss: {history[-1].total:.4f} after {len(history)} epochs, {seconds:.0f} s")
    whole.legend(frameon=False)
    part.plot(epochs, [each.reconstruction for each in history], color=GREY, **style)
    part.set(xlabel="epoch", ylabel="reconstruction")
    part.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (whole, part):
        axes.grid(alpha=0.3)
    return figure


def reconstructions(report: ReportData) -> Figure:
    """Show held-out pictures above what the decoder makes of their embeddings."""
    rows = spread(report.results.split.held_out, _RECONSTRUCTIONS_SHOWN)
    originals = report.results.pictures.pixels[rows]  # [n, S, S, 3]
    model = report.results.trained.model
    device = next(model.parameters()).device
    with torch.inference_mode():
        restored = model.decode(model.encode(to_float(torch.from_numpy(originals).to(device))))  # [n, 3, S, S]
    figure = Figure(figsize=(len(rows) * 1.1, 2.7), layout="constrained")
    forgets = ", which are taught to forget the orientation" if report.results.trained.preset.views else ""
    figure.suptitle(f"Held-out pictures over their reconstructions from 256 numbers{forgets}", fontsize=10)
    for axes, pixels in zip(
        figure.subplots(2, len(rows), squeeze=False).flat,
        [*originals, *restored.permute(0, 2, 3, 1).cpu().numpy()],
        strict=True,
    ):
        tile(axes, pixels)
    return figure


def distance_histogram(report: ReportData) -> Figure:
    """Plot the distances of copies to their originals against those of pictures to the nearest non-copy."""
    copies = np.concatenate(list(report.distances.copies.values()))
    non_copies = report.distances.non_copies
    both = np.concatenate([copies, non_copies])
    bins = np.linspace(float(both.min()), float(both.max()), 80).tolist()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for values, colour, label in (
        (copies, COPY, "edited copy to original"),
        (non_copies, NON_COPY, "nearest stranger"),
    ):
        axes.hist(values, bins, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.6, label=label)
    radius = report.results.calibration.radius
    axes.axvline(radius, color=GREY, linestyle="--", label=f"nomination radius: {radius:.3f}")
    axes.set(xlabel=_DISTANCE, ylabel="share (%)", title="Copy against stranger, held-out pictures")
    axes.legend(frameon=False)
    return figure


def contact_sheets(report: ReportData) -> Figure:
    """Show the largest clusters, one a row: the members nearest the centroid and, after a gap, the three farthest."""
    clusters = report.results.clusters
    shown = np.argsort(-clusters.sizes, kind="stable")[:_CLUSTERS_SHOWN]
    cell = _THUMBNAIL + _THUMBNAIL // 16
    # All in one array of pixels, as a plot for each thumbnail would take a minute to lay out.
    sheet = np.full((len(shown) * cell, _MEMBERS_SHOWN * cell + cell // 3, 3), 255, dtype=np.uint8)
    for row, label in enumerate(shown):
        members = np.flatnonzero(clusters.labels == label)
        outward = members[np.argsort(np.linalg.norm(report.embeddings[members] - clusters.centroids[label], axis=1))]
        if len(outward) > _MEMBERS_SHOWN:
            ends = outward[: _MEMBERS_SHOWN - _FARTHEST_SHOWN], outward[-_FARTHEST_SHOWN:]
            outward = np.concatenate(ends)
        for column, member in enumerate(outward):
            left = column * cell + (cell // 3 if column >= _MEMBERS_SHOWN - _FARTHEST_SHOWN else 0)
            thumbnail = _thumbnail(report, int(report.results.split.train[member]))
            sheet[row * cell : row * cell + _THUMBNAIL, left : left + _THUMBNAIL] = thumbnail
    figure = Figure(figsize=(_MEMBERS_SHOWN * 0.8 + 1.2, len(shown) * 0.8 + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="antialiased")
    axes.set_title(
        f"The largest {len(shown)} of {len(clusters.centroids)} clusters: nearest the centroid first, farthest last",
        fontsize=10,
    )
    axes.set_xticks([])
    labels = [f"cluster {label}\n{clusters.sizes[label]} in all" for label in shown]
    axes.set_yticks([row * cell + _THUMBNAIL // 2 for row in range(len(shown))], labels, fontsize=8, color=GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def threshold_curve(report: ReportData) -> Figure:
    """Plot recall and false alarms for every threshold on the distance, without evidence."""
    distances = report.distances
    non_copies = np.sort(distances.non_copies)
    both = np.concatenate([non_copies, *distances.copies.values()])
    thresholds = np.linspace(float(both.min()), float(both.max()), 300)  # [T]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for edits, colour, label in ((EDITS, COPY, "recall, 18 edits"), (HARD_EDITS, "#7fb3d0", "recall, harder edits")):
        shares = [
            np.searchsorted(np.sort(distances.copies[name]), thresholds, side="right") / len(non_copies)
            for name in edits
        ]
        axes.plot(thresholds, 100 * np.mean(shares, axis=0), color=colour, label=label)
    alarms = 100 * np.searchsorted(non_copies, thresholds, side="right") / len(non_copies)
    axes.plot(thresholds, alarms, color=NON_COPY, label="new pictures with a stranger within")
    radius = report.results.calibration.radius
    axes.axvline(radius, color=GREY, linestyle="--", label=f"nomination radius: {radius:.3f}")
    axes.set(xlabel=_DISTANCE, ylabel="share (%)", title="Every threshold, held-out pictures", ylim=(0, 101))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def recall_against_baselines(report: ReportData) -> Figure:
    """Plot recall by edit by distance alone: this run as bars, the baselines as marks."""
    ours = report.results.trained.preset.name
    recalls = {"this encoder": report.results.evaluation.recall}
    recalls |= {name: evaluation.recall for name, evaluation in report.baselines.items()}
    title = f"{ours}: recall by edit where {report.results.evaluation.false_alarm_rate:.1%} of new pictures are accused"
    return recall_bars(title, "this encoder", recalls, list(ALL_EDITS))


def worst_misses(report: ReportData) -> Figure:
    """Show the copies farthest from their originals, at most two of an edit and one of a picture."""
    found = sorted(
        ((float(far), name, row) for name, own in report.distances.copies.items() for row, far in enumerate(own)),
        reverse=True,
    )
    chosen: list[tuple[float, str, int]] = []
    for miss in found:
        if sum(name == miss[1] for _, name, _ in chosen) < 2 and all(row != miss[2] for _, _, row in chosen):
            chosen.append(miss)
    return _pairs(
        "Edited copies farthest from their originals: original above, copy below, distance, evidence",
        [
            (_held_out(report, row), edit_file(_held_out_path(report, row), name), f"{name}\n{far:.3f}")
            for far, name, row in chosen[:_PAIRS_SHOWN]
        ],
    )


def nearest_non_copies(report: ReportData) -> Figure:
    """Show the different pictures that lie nearest to each other; evidence has to tell them apart."""
    distances = report.distances
    rows = [
        (row, int(distances.nearest[row]))
        for row in np.argsort(distances.non_copies, kind="stable").tolist()
        # Two pictures that are each other's nearest make one pair.
        if row < distances.nearest[row] or distances.nearest[distances.nearest[row]] != row
    ]
    return _pairs(
        "Pictures nearest to each other: distance, and evidence (from 0.6 on they count as copies)",
        [
            (_held_out(report, row), _held_out(report, other), f"{distances.non_copies[row]:.3f}")
            for row, other in rows[:_PAIRS_SHOWN]
        ],
    )


def _pairs(title: str, pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], str]]) -> Figure:
    """Show pairs side by side, each with its caption and the evidence that it is a copy."""
    figure = Figure(figsize=(len(pairs) * 1.3, 3.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for column, (upper, lower, caption) in enumerate(pairs):
        tile(grid[0, column], on_square(upper))
        tile(grid[1, column], on_square(lower))
        grid[1, column].set_title(f"{caption}, {compare(upper, lower).score:.2f}", fontsize=8)
    return figure


def _held_out_path(report: ReportData, row: int) -> Path:
    return report.results.pictures.paths[int(report.results.split.held_out[row])]


def _held_out(report: ReportData, row: int) -> NDArray[np.uint8]:
    return decode_fit(_held_out_path(report, row).read_bytes(), EVIDENCE_SIDE, MAX_MEGAPIXELS).pixels


def _page(report: ReportData, bundle: Bundle) -> str:
    manifest = bundle.manifest
    rates = report.results.calibration.error_rate
    facts = {
        "bundle id": bundle.id,
        "preset": manifest.preset,
        "input": f"{manifest.input_width} x {manifest.input_height} {manifest.colour}",
        "nomination radius": f"{manifest.nomination_radius:.4f}",
        "new pictures with a stranger within it": f"{rates.false_alarm_rate:.1%}",
        "library for these rates": f"{rates.library_pictures} held-out pictures",
    } | {name.replace("_", " "): _plain(value) for name, value in manifest.training.items()}
    recall = "".join(
        f"<tr><td>{name}</td><td>{100 * rates.edit_recall[name]:.1f}</td><td>{100 * share:.1f}</td></tr>"
        for name, share in report.results.evaluation.recall.items()
    )
    skipped = "".join(
        f"<li>{html.escape(escape_controls(str(each.path)))}: {html.escape(escape_controls(each.reason))}</li>"
        for each in report.results.pictures.skipped[:100]
    )
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
    evaluation = report.results.evaluation
    figures = "".join(
        f'<h2>{title}</h2><img src="{name}.png" alt="{title}">'
        for name, title in (
            ("recall", "Recall against others"), ("loss", "Training history"), ("reconstructions", "Reconstructions"),
            ("distances", "Distances"), ("thresholds", "Thresholds"), ("misses", "Worst misses"),
            ("strangers", "Nearest strangers"), ("clusters", "Clusters"),
        )
    )  # fmt: skip
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>twinwatch training report: {manifest.preset}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}}
img{{max-width:100%}}table{{border-collapse:collapse}}td,th{{padding:.15rem .9rem .15rem 0;text-align:left}}
h2{{margin-top:2.2rem;font-size:1.15rem}}</style></head><body>
<h1>Training report: {manifest.preset}</h1>
<table>{rows}</table>
<h2>Recall by edit</h2>
<p>In %, on held-out pictures. Nominated: the original lies within the nomination radius and among the nearest 20.
By distance alone: at a threshold of {evaluation.threshold:.4f}, where {evaluation.false_alarm_rate:.1%} of
{evaluation.new_pictures} new pictures have a stranger within, in a library of {evaluation.library_pictures};
mean {100 * evaluation.mean_recall:.1f}.</p>
<table><tr><th>edit</th><th>nominated</th><th>by distance alone</th></tr>{recall}</table>
{figures}
<h2>Files left out: {len(report.results.pictures.skipped)}</h2><ul>{skipped or "<li>none</li>"}</ul>
</body></html>
"""


def _plain(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _thumbnail(report: ReportData, row: int) -> NDArray[np.uint8]:
    data = report.results.pictures.paths[row].read_bytes()
    return decode_exact(data, (_THUMBNAIL, _THUMBNAIL), MAX_MEGAPIXELS).pixels
