"""Exact range search against brute force over the same embeddings, in one run; prints the ratio of their times.

The embeddings are those of painted pictures, jittered within their covariance to the size asked for and put back on the
unit sphere where the bundle's are. Every answer is compared with brute force.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from paint import paint

from twinwatch.bundle import load_bundle, locate
from twinwatch.encoder import Encoder
from twinwatch.index import recluster

Vectors = NDArray[np.float32]


def library(bundle_name: str, size: int, painted: int, seed: int = 0) -> tuple[Vectors, float]:
    """Return float32 [size, 256] and the bundle's radius."""
    bundle = load_bundle(locate(bundle_name))
    encoder = Encoder(bundle, "cpu")
    pictures = [np.asarray(paint(number, 160, 120).resize(bundle.input_size)) for number in range(painted)]
    real = encoder.embed(np.stack(pictures))  # [painted, 256]
    rng = np.random.default_rng(seed)
    axes = np.linalg.cholesky(np.cov(real.T) + 1e-6 * np.eye(real.shape[1]))
    jitter = rng.normal(0, 0.5, (size, real.shape[1])) @ axes.T
    vectors = (real[rng.integers(0, painted, size)] + jitter).astype(np.float32)
    if bundle.manifest.unit_norm:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, bundle.manifest.nomination_radius


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--size", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    vectors, radius = library(arguments.bundle, arguments.size, painted=500)
    index = recluster(np.arange(len(vectors)), vectors)
    rng = np.random.default_rng(1)
    near = vectors[rng.integers(0, len(vectors), arguments.queries)]
    queries = near + rng.normal(0, 0.02, near.shape).astype(np.float32)
    ours_s: list[float] = []
    brute_s: list[float] = []
    for query in queries:
        started_s = time.perf_counter()
        found = {match.key for match in index.query(query, radius)}
        ours_s.append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        distances = np.linalg.norm(vectors - query, axis=1)  # [size]
        expected = set(np.flatnonzero(distances <= radius).tolist())
        brute_s.append(time.perf_counter() - started_s)
        on_the_edge = {key for key in found ^ expected if abs(distances[key] - radius) < 1e-5}
        if found ^ expected != on_the_edge:
            raise SystemExit(f"search differs from brute force in {sorted(found ^ expected)}")
    ratio = float(np.median(brute_s) / np.median(ours_s))
    print(
        f"{arguments.size:,} embeddings, radius {radius:.3f}, {arguments.queries} queries: "
        f"{1e3 * np.median(ours_s):.2f} ms against {1e3 * np.median(brute_s):.2f} ms, "
        f"{ratio:.1f} times brute force's speed"
    )


if __name__ == "__main__":
    main()
