"""Exact search against faiss and brute force over the same embeddings, as the library grows; prints ratios of times.

The embeddings have the shape of real ones: those of a folder's pictures, or of painted ones, each moved about within
the covariance of its 60 nearest neighbours and put back on the unit sphere. Answers are compared with brute force. All
run in one thread. Needs faiss-cpu to stand beside; without it there is brute force only.
"""

from __future__ import annotations

import os

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paint import paint
from PIL import Image

from twinwatch.bundle import Bundle, load_bundle, locate
from twinwatch.calibration import pictures_below
from twinwatch.decode import MAX_MEGAPIXELS, decode_exact
from twinwatch.encoder import Encoder
from twinwatch.index import Index, recluster

try:
    import faiss
except ImportError:
    faiss = None

Vectors = NDArray[np.float32]

NEAREST = 20
_NEIGHBOURS, _OF_ITSELF, _SPREAD = 60, 0.6, (0.5, 1.1)
_ROUNDING = 1e-4


def real_embeddings(bundle: Bundle, folder: Path | None, painted: int) -> Vectors:
    """Return float32 [n, 256] of the pictures below a folder, or of painted ones."""
    encoder = Encoder(bundle, "cpu")
    if folder is None:
        pictures = [
            paint(number, 160, 120).resize(bundle.input_size, Image.Resampling.BILINEAR) for number in range(painted)
        ]
        pixels = [np.asarray(picture) for picture in pictures]
    else:
        files = pictures_below(folder)
        pixels = [decode_exact(file.read_bytes(), bundle.input_size, MAX_MEGAPIXELS).pixels for file in files]
    batches = (np.stack(pixels[start : start + 64]) for start in range(0, len(pixels), 64))
    return np.concatenate([encoder.embed(batch) for batch in batches])


def made_like(real: Vectors, size: int, seed: int = 0) -> Vectors:
    """Return float32 [size, 256] in random order, each near one of `real` [n, 256] as the neighbours of that are."""
    rng = np.random.default_rng(seed)
    parents = np.sort(rng.integers(0, len(real), size))
    made = np.empty((size, real.shape[1]), np.float32)
    starts = np.searchsorted(parents, np.arange(len(real) + 1))
    for parent, (start, end) in enumerate(pairwise(starts)):
        if start == end:
            continue
        near = real[np.argsort(-(real @ real[parent]))[: _NEIGHBOURS + 1]]  # [k, 256]
        middle = near.mean(axis=0)
        weights = rng.normal(size=(end - start, len(near))) * rng.uniform(*_SPREAD, (end - start, 1))
        moved = weights.astype(np.float32) @ (near - middle) / np.float32(len(near) ** 0.5)
        made[start:end] = middle + _OF_ITSELF * (real[parent] - middle) + moved
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    rng.shuffle(made)
    return made


def median_ms(queries: Vectors, search: Callable[[Vectors], Any]) -> tuple[float, list[Any]]:
    times_s, answers = [], []
    for query in queries:
        started_s = time.perf_counter()
        answers.append(search(query))
        times_s.append(time.perf_counter() - started_s)
    return 1e3 * float(np.median(times_s)), answers


def require_exact(index: Index, vectors: Vectors, query: Vectors, radius: float) -> None:
    """Compare the nearest and the whole range with brute force, but for what lies on the edge within float32."""
    distances = np.linalg.norm(vectors - query, axis=1)  # [size]
    expected = np.sort(distances[distances <= radius])
    for most in (NEAREST, None):
        found = np.array([match.distance for match in index.query(query, radius, most)])
        wanted = expected[:most]
        if (
            abs(len(found) - len(wanted))
            > (distances > radius - _ROUNDING).sum() - (distances > radius + _ROUNDING).sum()
        ):
            raise SystemExit(f"search found {len(found)} of {len(wanted)} within the radius")
        both = min(len(found), len(wanted))
        if both and float(np.abs(found[:both] - wanted[:both]).max()) > _ROUNDING:
            raise SystemExit("search differs from brute force")


def measure(vectors: Vectors, queries: Vectors, radius: float) -> dict[str, float]:
    """Medians of one size, in milliseconds, and ratios: how many times the other's speed ours has."""
    started_s = time.perf_counter()
    index = recluster(np.arange(len(vectors)), vectors)
    built_s = time.perf_counter() - started_s
    for query in queries[:5]:
        require_exact(index, vectors, query, radius)
    found = {"size": float(len(vectors)), "built_s": built_s}
    found["nearest_ms"], answers = median_ms(queries, lambda query: index.query(query, radius, NEAREST))
    found["range_ms"], ranges = median_ms(queries, lambda query: index.query(query, radius))
    found["in_range"] = float(np.median([len(answer) for answer in ranges]))
    rivals: dict[str, Callable[[Vectors], Any]] = {"brute force": lambda query: np.linalg.norm(vectors - query, axis=1)}
    if faiss is not None:
        flat = faiss.IndexFlatL2(vectors.shape[1])
        flat.add(vectors)
        rivals["IndexFlatL2"] = lambda query: flat.search(query[None], NEAREST)
        lists = round(len(vectors) ** 0.5)
        inverted = faiss.IndexIVFFlat(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], lists)
        inverted.train(vectors[: 64 * lists])
        inverted.add(vectors)
        nearest = [{match.key for match in answer} for answer in answers]
        for probes in (1, *(lists * part // 16 for part in (1, 2, 4, 8, 12, 16))):
            inverted.nprobe = max(1, probes)
            theirs = [set(inverted.search(query[None], NEAREST)[1][0].tolist()) for query in queries]
            if all(ours <= other for ours, other in zip(nearest, theirs, strict=True)):
                break
        rivals[f"IndexIVFFlat at full recall ({inverted.nprobe} of {lists} lists)"] = lambda query: inverted.search(
            query[None], NEAREST
        )
    few = queries[:10]
    for name, search in rivals.items():
        found[name], _ = median_ms(few, search)
    return found


def show(found: dict[str, float]) -> None:
    ours_ms = found["nearest_ms"]
    print(
        f"{int(found['size']):,} embeddings: built in {found['built_s']:.1f} s; "
        f"the nearest {NEAREST} in {ours_ms:.2f} ms, "
        f"all {found['in_range']:.0f} within the radius in {found['range_ms']:.2f} ms; "
        + ", ".join(
            f"{value / ours_ms:.1f} times the speed of {name} ({value:.1f} ms)"
            for name, value in found.items()
            if name not in ("size", "built_s", "nearest_ms", "range_ms", "in_range")
        )
    )


def draw(rows: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    from twinwatch_training.drawing import COPY, STRANGER, save

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [row["size"] for row in rows]
    axes.loglog(sizes, [row["nearest_ms"] for row in rows], "o-", color=COPY, label=f"twinwatch, nearest {NEAREST}")
    axes.loglog(sizes, [row["range_ms"] for row in rows], "s--", color=COPY, alpha=0.5, label="twinwatch, whole range")
    axes.loglog(sizes, [row["brute force"] for row in rows], "o-", color=STRANGER, label="brute force")
    axes.set(xlabel="pictures in the library", ylabel="a query, median (ms)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.suptitle("Exact search as the library grows, one thread", fontsize=10)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="pictures whose embeddings to start from; painted if not given"
    )
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--sizes", default="10000,100000", help="of the library, with commas")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--picture", type=Path, help="draw the growth to this file; needs the extra `training`")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(locate(arguments.bundle))
    radius = bundle.manifest.nomination_radius
    if faiss is None:
        print("faiss is not installed, so there is only brute force to compare with: pip install faiss-cpu")
    sizes = [int(size) for size in arguments.sizes.split(",")]
    made = made_like(real_embeddings(bundle, arguments.folder, 1000), max(sizes) + arguments.queries)
    queries, library = made[: arguments.queries], made[arguments.queries :]
    rows = []
    for size in sizes:
        rows.append(measure(library[:size], queries, radius))
        show(rows[-1])
    if arguments.picture is not None:
        draw(rows, arguments.picture)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"radius": radius, "sizes": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
