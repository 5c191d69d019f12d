"""Speed on a GPU: of training, of the encoder, and of a scan.

Training runs the loop of `twinwatch-train fit` with the preset `default`. The pictures of a folder, or painted ones,
are repeated until there are enough; the time of a step does not depend on what they show. The profiler of torch watches
the last epoch, from one checkpoint to the next, and gives the share of that time in which at least one kernel ran,
without copies between memories.

Encoding runs the shipped bundle through the daemon's encoder, from pixels in host memory to embeddings in host memory,
in batches of several sizes, and on one core of the CPU; the embeddings of both are compared. Finally `twinwatch scan`
runs on a folder with each of them, alternately.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from paint import paint
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from twinwatch.search import Bundle, Encoder, bundle_path, load_bundle
from twinwatch_training.checkpoint import EpochLoss, RunSettings
from twinwatch_training.data import Pictures, load_pictures, split
from twinwatch_training.presets import preset
from twinwatch_training.train import TrainingRun, fit

_EPOCHS = 3  # the first warms up, the second is timed, the third is profiled
_BATCHES = (64, 512, 4096)  # pictures; 64 is the largest batch of the daemon
_AT_LEAST_S = 2.0
_SCANS = 2


@dataclass(frozen=True, slots=True)
class Training:
    """`epoch_s` is the time of the second epoch, `busy_share` the share of the third in which the GPU was busy."""

    pictures: int
    epoch_s: float
    busy_share: float


@dataclass(frozen=True, slots=True)
class Encoding:
    """Pictures a second by batch size and on one core, and the L2 distances between the embeddings of the two."""

    per_s: dict[int, float]
    cpu_per_s: float
    median_apart: float
    most_apart: float
    radius: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="pictures; 200 painted ones if not given")
    parser.add_argument("--pictures", type=int, default=100_000, help="in an epoch")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing to measure")
    name = torch.cuda.get_device_name()
    print(name, flush=True)
    with tempfile.TemporaryDirectory(prefix="twinwatch-gpu-") as scratch:
        folder = painted(Path(scratch, "painted")) if arguments.folder is None else arguments.folder
        chosen = preset("default")
        detailed = load_pictures(folder, chosen.source_side, silent)
        trained = training(detailed, arguments.pictures, Path(scratch, "work"))
        print(
            f"training: {trained.pictures:,} pictures in {trained.epoch_s:.2f} s, "
            f"{trained.pictures / trained.epoch_s:,.0f} a second; the GPU busy {trained.busy_share:.1%} of it",
            flush=True,
        )
        bundle = load_bundle(bundle_path("default"))
        pictures = load_pictures(folder, bundle.manifest.input_width, silent)
        encoded = encoding(bundle, pictures.pixels)
        for size, per_s in encoded.per_s.items():
            print(f"encoding in batches of {size:4}: {per_s:9,.0f} pictures a second")
        print(f"encoding on one core:           {encoded.cpu_per_s:9,.0f}")
        print(
            f"embeddings of GPU and CPU apart: median {encoded.median_apart:.4f}, at most {encoded.most_apart:.4f}, "
            f"of a radius of {encoded.radius:.3f}",
            flush=True,
        )
        scans = scanning(folder)
        print(f"scan of {len(pictures):,} pictures: {scans['cuda']:.2f} s with the GPU, {scans['cpu']:.2f} s without")
    if arguments.json is not None:
        found = {"gpu": name, "training": asdict(trained), "encoding": asdict(encoded), "scan_s": scans}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def silent(task: str, done: int, total: int, /) -> None:
    pass


def painted(folder: Path, count: int = 200) -> Path:
    folder.mkdir()
    for number in range(count):
        paint(number, 320, 240).save(folder / f"{number:04}.jpg")
    return folder


def training(pictures: Pictures, count: int, work: Path) -> Training:
    """Train on `count` pictures, repeated from those given, and measure an epoch."""
    held_out = split(len(pictures), 0).held_out
    rows = np.resize(np.arange(len(pictures)), count + len(held_out))
    many = Pictures(pictures.folder, (), pictures.pixels[rows], (), pictures.fingerprint)
    profiler = torch.profiler.profile(activities=[ProfilerActivity.CUDA], acc_events=True)
    reached_s = [time.perf_counter()]

    def watch(done: int, _: EpochLoss) -> None:
        torch.cuda.synchronize()
        reached_s.append(time.perf_counter())
        if done == _EPOCHS - 1:
            profiler.start()
            reached_s.append(time.perf_counter())

    chosen = preset("default")
    settings = RunSettings("benchmark", pictures.fingerprint, chosen.name, 0, _EPOCHS)
    parts = split(len(rows), 0)
    fit(TrainingRun(settings, chosen, many, parts, work, torch.device("cuda")), silent, watch)
    profiler.stop()
    _, before_s, after_s, watched_s, end_s = reached_s
    results = profiler.profiler.kineto_results  # type: ignore[union-attr]
    kernels = [
        (event.start_ns(), event.end_ns())
        for event in results.events()
        if event.device_type() == DeviceType.CUDA and not event.name().startswith(("Memcpy", "Memset"))
    ]
    learned = len(parts.train) // chosen.batch * chosen.batch
    return Training(learned, after_s - before_s, covered_ns(kernels) / 1e9 / (end_s - watched_s))


def covered_ns(spans: Iterable[tuple[int, int]]) -> int:
    """Return the length of the union of spans (start, end) in nanoseconds."""
    covered, reached = 0, 0
    for start, end in sorted(spans):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def encoding(bundle: Bundle, pixels: NDArray[np.uint8]) -> Encoding:
    """Time the encoder and compare its embeddings on GPU and CPU. `pixels`: uint8 [N, S, S, 3]."""
    gpu, cpu = Encoder(bundle, "cuda"), Encoder(bundle, "cpu")
    sample = pixels[:1024]
    apart = np.linalg.norm(gpu.embed(sample) - cpu.embed(sample), axis=1)  # [N]
    return Encoding(
        {size: speed(gpu, pixels, size) for size in _BATCHES},
        speed(cpu, pixels, _BATCHES[0]),
        float(np.median(apart)),
        float(apart.max()),
        bundle.manifest.nomination_radius,
    )


def speed(encoder: Encoder, pixels: NDArray[np.uint8], size: int) -> float:
    """Return how many pictures a second the encoder embeds in batches of `size`, over two seconds or more."""
    batches = [np.take(pixels, range(start, start + size), axis=0, mode="wrap") for start in range(0, 8 * size, size)]
    for batch in batches:
        encoder.embed(batch)
    done, started_s = 0, time.perf_counter()
    while time.perf_counter() < started_s + _AT_LEAST_S:
        for batch in batches:
            encoder.embed(batch)
        done += len(batches) * size
    return done / (time.perf_counter() - started_s)


def scanning(folder: Path) -> dict[str, float]:
    """Return the seconds of `twinwatch scan` on each device, the better of two runs."""
    taken: dict[str, list[float]] = {"cuda": [], "cpu": []}
    for _ in range(_SCANS):
        for device, seconds in taken.items():
            command = [sys.executable, "-m", "twinwatch", "scan", str(folder), "--device", device]
            started_s = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started_s)
    return {device: min(seconds) for device, seconds in taken.items()}


if __name__ == "__main__":
    main()
