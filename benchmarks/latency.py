"""Latency of an idle daemon from a new copy to its verdict, and the daemon's memory.

The library is in the folder before the daemon starts. Then edited copies are written one by one. The latency of a copy
is the time from the end of its write to its line in the duplicates log, less the settle time. A copy that is not found
has no line and is counted as missed. The first copy also starts worker processes, so its time is printed separately.
Processor time tells what a copy costs on a busy machine.

Memory is the proportional set size (PSS) of the daemon and its workers: before the first picture, and after the last.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from proc import cpu_s, memory_mb
from scan import photo

from twinwatch.calibration import EDITS, edit_file, pictures_below

_SIZE = (4000, 3000)
_TIMEOUT_S, _POLL_S = 60.0, 0.002
_START_S = 3.0  # from a written status to a quiet daemon
_REST_S = 0.3  # between two copies
_MISSED_S = 5.0  # a verdict that is not there so long after the settle time does not come


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="pictures; painted ones of 12 megapixels if not given")
    parser.add_argument("--drops", type=int, default=100)
    parser.add_argument("--library", type=int, default=20, help="how many pictures are there before")
    parser.add_argument("--settle", type=float, default=0.5, help="settle_seconds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinwatch-latency-") as scratch:
        home = Path(scratch)
        (home / "share").mkdir()
        originals = library(home / "share", arguments.folder, arguments.library)
        prepared = [copy(home, originals, number) for number in range(arguments.drops + 1)]
        base_mb = memory_of_empty_daemon(home, arguments.settle)
        process = start(home, home / "share", arguments.settle)
        try:
            wait_for_library(home, len(originals))
            (first,) = times_of(home, prepared[:1], arguments.settle, 0)
            before_s = cpu_s(process.pid)
            later = times_of(home, prepared[1:], arguments.settle, 1)
            cpu_ms = 1000 * (cpu_s(process.pid) - before_s) / arguments.drops
            full_mb = memory_mb(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    median, late = float(np.median(later)), float(np.quantile(later, 0.99))
    print(
        f"{len(later)} of {arguments.drops} drops found; to their verdicts, above the settle time: "
        f"median {median:.0f} ms, 99% in {late:.0f} ms"
    )
    print(f"the first of all: {first:.0f} ms; processor time of a drop: {cpu_ms:.0f} ms")
    print(f"memory (PSS): {base_mb:.0f} MB on an empty folder, {full_mb:.0f} MB after the drops")
    if arguments.json is not None:
        values = {
            "ms": [first, *later],
            "missed": arguments.drops - len(later),
            "median_ms": median,
            "p99_ms": late,
            "cpu_ms": cpu_ms,
            "base_mb": base_mb,
            "after_mb": full_mb,
        }
        arguments.json.write_text(json.dumps(values, indent=2) + "\n")


def library(share: Path, source: Path | None, count: int) -> list[Path]:
    """Fill the share with `count` pictures, copied from `source` or painted, and return their paths."""
    if source is None:
        for number in range(count):
            photo(number, *_SIZE).save(share / f"{number:04}.jpg", quality=80)
    else:
        found = pictures_below(source)
        for number, path in enumerate(found[:count]):
            (share / f"{number:04}{path.suffix.lower()}").write_bytes(path.read_bytes())
    return sorted(share.iterdir())


def copy(home: Path, originals: list[Path], number: int) -> bytes:
    """Return an edited copy as large as its original, with the number stored in it, so that all differ in bytes."""
    original = originals[number % len(originals)]
    edit = list(EDITS)[number % len(EDITS)]
    with Image.open(original) as image:
        size = image.size
    edited = Image.fromarray(edit_file(original, edit))
    scale = max(size) / max(edited.size)
    target = home / "prepared.jpg"
    enlarged = edited.resize((round(edited.width * scale), round(edited.height * scale)), Image.Resampling.BICUBIC)
    enlarged.save(target, quality=80, comment=str(number))
    return target.read_bytes()


def memory_of_empty_daemon(home: Path, settle_s: float) -> float:
    """Return the memory in MB of a daemon that watches an empty folder."""
    (home / "empty").mkdir()
    process = start(home, home / "empty", settle_s)
    try:
        time.sleep(_START_S)
        return memory_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def start(home: Path, share: Path, settle_s: float) -> subprocess.Popen[bytes]:
    """Start a daemon and return when it is up, which is when it has written its status."""
    state = home / f"state-{share.name}"
    config = home / "config.yaml"
    settings = {
        "watch": [{"path": str(share)}],
        "state_dir": str(state),
        "duplicates_log": str(home / "duplicates.jsonl"),
        "settle_seconds": settle_s,
    }
    config.write_text(json.dumps(settings))  # which is YAML too
    command = [sys.executable, "-m", "twinwatch", "run", "-c", str(config)]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until((state / "status.json").exists)
    return process


def wait_for_library(home: Path, count: int) -> None:
    """Wait until the daemon's metrics say that every picture of the library was judged."""
    metrics = home / "state-share" / "metrics.prom"
    wait_until(lambda: metrics.exists() and f"\ntwinwatch_files_kept {float(count)}\n" in metrics.read_text(), 0.2)


def times_of(home: Path, drops: list[bytes], settle_s: float, first: int) -> list[float]:
    """Return the milliseconds of each copy that was found."""
    times = (drop(home, data, number, settle_s) for number, data in enumerate(drops, first))
    return [time_ms for time_ms in times if time_ms is not None]


def drop(home: Path, data: bytes, number: int, settle_s: float) -> float | None:
    """Write a copy and return its latency in milliseconds; None if it is not found."""
    log = home / "duplicates.jsonl"
    before = log.stat().st_size if log.exists() else 0
    (home / "share" / f"drop-{number:04}.jpg").write_bytes(data)
    started_s = time.perf_counter()
    found = holds_within(lambda: log.exists() and log.stat().st_size > before, settle_s + _MISSED_S)
    took_s = time.perf_counter() - started_s - settle_s
    time.sleep(_REST_S)
    return 1000 * took_s if found else None


def wait_until(condition: Callable[[], bool], poll_s: float = _POLL_S) -> None:
    """Exit the program if the condition does not hold within a minute."""
    if not holds_within(condition, _TIMEOUT_S, poll_s):
        raise SystemExit(f"nothing came of it in {_TIMEOUT_S:.0f} s")


def holds_within(condition: Callable[[], bool], timeout_s: float, poll_s: float = _POLL_S) -> bool:
    """Poll the condition and return whether it held within the timeout."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(poll_s)
    return True


if __name__ == "__main__":
    main()
