"""Times exact search against faiss and brute force over the same embeddings, at several sizes of the library.

The embeddings are drawn to be like real ones, those of a folder's pictures or of painted ones: each is moved within the
covariance of the 60 nearest neighbours of a real one and put back on the unit sphere. The distances to the nearest
neighbour are printed for both, so that the two can be compared.

Every answer is checked against brute force. All searches run in one thread and alternate, query by query. Times are
processor time, which other programs disturb little. faiss-cpu is optional, and used up to a million embeddings, as it
keeps a copy of them. IndexIVFFlat probes the smallest number of lists that finds all neighbours of the timed queries;
how many neighbours of other queries it then misses is printed. With --file the largest library is searched once more
with its embeddings in a file, as one larger than memory would be, and the cost of fifty million pictures is
extrapolated from that.
"""

from __future__ import annotations

import os

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import argparse
import json
import mmap
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paint import paint
from PIL import Image

from twinwatch.calibration import pictures_below
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact
from twinwatch.search import EMBEDDING_DIM, Bundle, Encoder, ExactIndex, bundle_path, load_bundle, recluster

try:
    import faiss
except ImportError:
    faiss = None

Vectors = NDArray[np.float32]

NEAREST = 20
_NEIGHBOURS, _OWN_SHARE, _SPREAD = 60, 0.6, (0.5, 1.1)
_ROUNDING = 1e-4
_MAX_BASELINE_SIZE = 1_000_000  # embeddings; faiss keeps a copy of them
_FEW_QUERIES = 20  # for sizes at which brute force takes seconds
_UNSEEN_QUERIES = 1000  # that IndexIVFFlat was not tuned with
_BATCH = 1 << 16  # embeddings, in brute force


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


def synthesize(real: Vectors, size: int, seed: int = 0) -> Vectors:
    """Return float32 [size, 256] in random order, drawn around `real` [n, 256] like the neighbours there."""
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
        near_it = middle + _OWN_SHARE * (real[parent] - middle) + moved
        made[start:end] = near_it / np.linalg.norm(near_it, axis=1, keepdims=True)
    rng.shuffle(made)
    return made


def nearest_quantiles(vectors: Vectors, among: int, seed: int = 0) -> NDArray[np.float64]:
    """Return the 5, 25, 50, 75 and 95% quantiles of the distance to the nearest of `among` others."""
    picked = vectors[np.random.default_rng(seed).permutation(len(vectors))[: among + min(1000, among // 4)]]
    squares = 2 - 2 * picked[among:] @ picked[:among].T  # [queries, among]
    return np.quantile(np.sqrt(np.maximum(squares.min(axis=1), 0)), (0.05, 0.25, 0.5, 0.75, 0.95))


def medians_ms(queries: Vectors, searches: dict[str, Callable[[Vectors], Any]]) -> dict[str, float]:
    """Return the median processor time of each search; the searches alternate."""
    times_s: dict[str, list[float]] = {name: [] for name in searches}
    for query in queries:
        for name, search in searches.items():
            started_s = time.thread_time()
            search(query)
            times_s[name].append(time.thread_time() - started_s)
    return {name: 1e3 * float(np.median(times)) for name, times in times_s.items()}


def size_bytes(index: ExactIndex) -> int:
    """Return the bytes of an index: embeddings, codes, offsets, keys, clusters and the row of each key."""
    arrays = ((block.vectors, block.codes, block.offsets, block.keys, block.clusters) for block in index._blocks)
    return sum(array.nbytes for each in arrays for array in each) + index._blocks._rows.nbytes


def brute_force(vectors: Vectors, query: Vectors) -> Vectors:
    """Return the distances of float32 [size, 256] from a query [256], float32 [size]."""
    parts = (vectors[start : start + _BATCH] for start in range(0, len(vectors), _BATCH))
    return np.concatenate([np.linalg.norm(part - query, axis=1) for part in parts])


def require_exact(index: ExactIndex, vectors: Vectors, query: Vectors, radius: float) -> None:
    """Compare the nearest and the whole range with brute force, up to float32 rounding at the edge of the radius."""
    distances = brute_force(vectors, query)
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


def measure(vectors: Vectors, queries: Vectors, unseen: Vectors, radius: float) -> dict[str, float]:
    """Return the figures of one size: median times of a query in milliseconds, by name of the search, and memory."""
    started_s = time.thread_time()
    index = recluster(np.arange(len(vectors)), vectors)  # shares the embeddings, and is not changed
    built_s = time.thread_time() - started_s
    found = {"size": float(len(vectors)), "built_s": built_s}
    found["member_bytes"] = size_bytes(index) / len(vectors)
    for query in queries:
        require_exact(index, vectors, query, radius)
    baselines: dict[str, Callable[[Vectors], Any]] = {"brute force": lambda query: brute_force(vectors, query)}
    if faiss is not None and len(vectors) <= _MAX_BASELINE_SIZE:
        flat = faiss.IndexFlatL2(vectors.shape[1])
        flat.add(vectors)
        baselines["IndexFlatL2"] = lambda query: flat.search(query[None], NEAREST)
        lists = round(len(vectors) ** 0.5)
        inverted = faiss.IndexIVFFlat(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], lists)
        inverted.train(vectors[: 64 * lists])
        inverted.add(vectors)

        def missed(asked: Vectors) -> int:
            """Return how many of the nearest neighbours the probed lists do not hold."""
            nearest = ({match.key for match in index.query(query, radius, NEAREST)} for query in asked)
            return sum(
                len(ours - {*inverted.search(query[None], NEAREST)[1][0].tolist()})
                for ours, query in zip(nearest, asked, strict=True)
            )

        for probes in (1, *(lists * part // 16 for part in (1, 2, 4, 8, 12, 16))):
            inverted.nprobe = max(1, probes)
            if not missed(queries):
                break
        beyond = f"{missed(unseen)} of the neighbours of {len(unseen):,} other queries missed"
        baselines[f"IndexIVFFlat at full recall ({inverted.nprobe} of {lists} lists; {beyond})"] = lambda query: (
            inverted.search(query[None], NEAREST)
        )
    found["in_range"] = float(np.median([len(index.query(query, radius)) for query in queries]))
    ours = {
        "nearest_ms": lambda query: index.query(query, radius, NEAREST),
        "range_ms": lambda query: index.query(query, radius),
    }
    return found | medians_ms(queries, {**ours, **baselines})


def in_a_file(vectors: Vectors, queries: Vectors, radius: float, folder: Path) -> dict[str, float]:
    """Search with the embeddings in a file below `folder`: once with its pages in memory (warm), once without (cold).

    Everything but the embeddings stays in memory. Times are wall time. Nearly every embedding that is measured costs a
    page.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix="twinwatch-search-") as file:
        stored = np.memmap(file, np.float32, "w+", shape=vectors.shape)
        stored[:] = vectors
        stored.flush()
        index = recluster(np.arange(len(stored)), stored)
        stored._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        warm_s, cold_s, pages = [], [], []
        for query in queries:
            require_exact(index, vectors, query, radius)
            index.query(query, radius, NEAREST)  # its pages are in memory from here on
            warm_s.append(wall_s(lambda: index.query(query, radius, NEAREST)))  # noqa: B023
            stored._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
            cold_s.append(wall_s(lambda: index.query(query, radius, NEAREST)))  # noqa: B023
            pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before)
    return {
        "size": float(len(vectors)),
        "member_bytes": size_bytes(index) / len(vectors) - 4 * vectors.shape[1],
        "warm_ms": 1e3 * float(np.median(warm_s)),
        "cold_ms": 1e3 * float(np.median(cold_s)),
        "cold_pages": float(np.median(pages)),
    }


def wall_s(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def grown(centroids: Vectors, vectors: Vectors, queries: Vectors, radius: float) -> list[dict[str, float]]:
    """Add embeddings one by one to an empty index, as the daemon does, and re-cluster it when it needs that."""
    index = ExactIndex(centroids)
    marks = {count * 10**power for power in range(2, 8) for count in (1, 2, 5)} | {len(vectors)}
    rows, adding_s, clustering_s = [], 0.0, 0.0
    for key, vector in enumerate(vectors):
        started_s = time.thread_time()
        index.add(key, vector)
        added_s = time.thread_time()
        if index.needs_recluster():
            index = recluster(*index.vectors())
        adding_s, clustering_s = adding_s + added_s - started_s, clustering_s + time.thread_time() - added_s
        if len(index) in marks:
            times_ms = medians_ms(queries, {"nearest_ms": lambda query: index.query(query, radius, NEAREST)})  # noqa: B023
            rows.append({"size": float(len(index)), **times_ms})
            for query in queries:
                require_exact(index, vectors[: key + 1], query, radius)
    print(
        f"{len(vectors):,} added one by one: {1e3 * adding_s / len(vectors):.3f} ms each, and {clustering_s:.0f} s of "
        "clustering beside; the nearest in "
        + ", ".join(f"{row['nearest_ms']:.2f} ms of {int(row['size']):,}" for row in rows)
    )
    return rows


def show(found: dict[str, float]) -> None:
    ours_ms = found["nearest_ms"]
    print(
        f"{int(found['size']):,} embeddings: built in {found['built_s']:.1f} s, "
        f"{found['member_bytes']:.0f} bytes each; the nearest {NEAREST} in {ours_ms:.2f} ms, "
        f"all {found['in_range']:.0f} within the radius in {found['range_ms']:.2f} ms; "
        + ", ".join(
            f"{value / ours_ms:.1f} times the speed of {name} ({value:.1f} ms)"
            for name, value in found.items()
            if name not in ("size", "built_s", "member_bytes", "nearest_ms", "range_ms", "in_range")
        )
    )


def extrapolate(rows: list[dict[str, float]], filed: dict[str, float], size: int = 50_000_000) -> str:
    """Return a sentence on the cost of a library larger than this machine's memory, linear in the last two sizes.

    Codes, offsets, keys, clusters and rows are in memory. The embeddings are in a file, from which a query reads those
    few that the codes did not rule out; the kernel caches as much of it as fits.
    """
    last, first = rows[-1], rows[-2]
    slope_ms = (last["nearest_ms"] - first["nearest_ms"]) / (last["size"] - first["size"])
    query_ms = last["nearest_ms"] + slope_ms * (size - last["size"])
    built_s = last["built_s"] / last["size"] * size
    cold_ms, pages = ((size / filed["size"]) * filed[name] for name in ("cold_ms", "cold_pages"))
    gb = size / 1e9
    return (
        f"On paper, {size:,}: {last['member_bytes'] * gb:.0f} GB of memory, or, with the embeddings in a file, "
        f"{filed['member_bytes'] * gb:.1f} GB and {4 * EMBEDDING_DIM * gb:.0f} GB on disk; the nearest {NEAREST} in "
        f"{query_ms:.0f} ms on one thread, or {cold_ms:.0f} ms where {pages:.0f} pages have to be read; built in "
        f"{built_s / 60:.0f} minutes beside the service with as many clusters as now"
    )


def draw(rows: list[dict[str, float]], growing: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    from twinwatch_training.plots import COPY, NON_COPY, save

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [row["size"] for row in rows]
    axes.loglog(sizes, [row["nearest_ms"] for row in rows], "o-", color=COPY, label=f"twinwatch, nearest {NEAREST}")
    if growing:
        label = "the same in a library that grows one by one"
        axes.loglog(
            [row["size"] for row in growing], [row["nearest_ms"] for row in growing], ":", color=COPY, label=label
        )
    axes.loglog(sizes, [row["range_ms"] for row in rows], "s--", color=COPY, alpha=0.5, label="twinwatch, whole range")
    baseline = "brute force" if "IndexFlatL2" not in rows[0] else "IndexFlatL2"
    beside = [row for row in rows if baseline in row]
    axes.loglog(
        [row["size"] for row in beside],
        [row[baseline] for row in beside],
        "o-",
        color=NON_COPY,
        label=baseline.replace("Index", "faiss Index"),
    )
    axes.set(xlabel="pictures in the library", ylabel="processor time of a query, median (ms)")
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
    parser.add_argument("--grow", action="store_true", help="also add them all one by one, and ask on the way")
    parser.add_argument("--file", type=Path, help="a folder in which the embeddings lie while the largest is searched")
    parser.add_argument("--picture", type=Path, help="draw the growth to this file; needs the extra `training`")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(bundle_path(arguments.bundle))
    radius = bundle.manifest.nomination_radius
    if faiss is None:
        print("faiss is not installed, so there is only brute force to compare with: pip install faiss-cpu")
    sizes = [int(size) for size in arguments.sizes.split(",")]
    real = real_embeddings(bundle, arguments.folder, 1000)
    made = synthesize(real, max(sizes) + arguments.queries + _UNSEEN_QUERIES)
    among = len(real) * 4 // 5
    for name, vectors in (("real", real), ("made", made)):
        print(
            f"the nearest of {among:,}, {name}:", " ".join(f"{each:.3f}" for each in nearest_quantiles(vectors, among))
        )
    queries, unseen, library = np.split(made, [arguments.queries, arguments.queries + _UNSEEN_QUERIES])
    rows = []
    for size in sizes:
        asked = queries if size <= _MAX_BASELINE_SIZE else queries[:_FEW_QUERIES]
        rows.append(measure(library[:size], asked, unseen, radius))
        show(rows[-1])
    filed: dict[str, float] = {}
    if arguments.file is not None:
        filed = in_a_file(library[: max(sizes)], queries[:_FEW_QUERIES], radius, arguments.file)
        print(
            f"The same with the embeddings in a file: {filed['member_bytes']:.0f} bytes of memory each, "
            f"{filed['warm_ms']:.1f} ms, or {filed['cold_ms']:.1f} ms where {filed['cold_pages']:.0f} pages are read"
        )
    if len(rows) > 1 and filed:
        print(extrapolate(rows, filed))
    growing = grown(bundle.centroids, library, queries, radius) if arguments.grow else []
    if arguments.picture is not None:
        draw(rows, growing, arguments.picture)
    if arguments.json is not None:
        values = {"radius": radius, "sizes": rows, "in_a_file": filed, "growing": growing}
        arguments.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
