"""How long a real, idle daemon takes from a drop to its verdict, and how much memory it holds while it waits.

The library stands in the folder before the daemon starts. Then edited copies are dropped one by one, and the time runs
from the end of the write to the line in the duplicates log, less the settle time; a copy that is missed has no line,
and is counted. The first drop also starts the processes that are not there yet, and is told by itself. Processor time
says what a drop costs on a busy machine too.
Memory is what the daemon and its processes hold, each shared page counted once (PSS): before the first picture, and
after the last.
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
_PATIENCE_S, _PAUSE_S, _START_S, _REST_S = 60.0, 0.002, 3.0, 0.3
_MISSED_S = 5.0  # later than the settle time, no verdict is to be expected


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
        base_mb = memory_of_an_empty_one(home, arguments.settle)
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
    if source is None:
        for number in range(count):
            photo(number, *_SIZE).save(share / f"{number:04}.jpg", quality=80)
    else:
        found = pictures_below(source)
        for number, path in enumerate(found[:count]):
            (share / f"{number:04}{path.suffix.lower()}").write_bytes(path.read_bytes())
    return sorted(share.iterdir())


def copy(home: Path, originals: list[Path], number: int) -> bytes:
    """An edited copy at the full size of its original, no two alike."""
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


def memory_of_an_empty_one(home: Path, settle_s: float) -> float:
    (home / "empty").mkdir()
    process = start(home, home / "empty", settle_s)
    try:
        time.sleep(_START_S)
        return memory_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def start(home: Path, share: Path, settle_s: float) -> subprocess.Popen[bytes]:
    """Return once it is up: its status is written then."""
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
    """Until every picture of it was judged, as the metrics have it."""
    metrics = home / "state-share" / "metrics.prom"
    wait_until(lambda: metrics.exists() and f"\ntwinwatch_files_kept {float(count)}\n" in metrics.read_text(), 0.2)


def times_of(home: Path, drops: list[bytes], settle_s: float, first: int) -> list[float]:
    """Milliseconds of each drop that was found."""
    times = (drop(home, data, number, settle_s) for number, data in enumerate(drops, first))
    return [time_ms for time_ms in times if time_ms is not None]


def drop(home: Path, data: bytes, number: int, settle_s: float) -> float | None:
    """Milliseconds from the end of the write to the line in the log, less the settle time; None where none comes."""
    log = home / "duplicates.jsonl"
    before = log.stat().st_size if log.exists() else 0
    (home / "share" / f"drop-{number:04}.jpg").write_bytes(data)
    started_s = time.perf_counter()
    found = comes(lambda: log.exists() and log.stat().st_size > before, settle_s + _MISSED_S)
    took_s = time.perf_counter() - started_s - settle_s
    time.sleep(_REST_S)
    return 1000 * took_s if found else None


def wait_until(what: Callable[[], bool], pause_s: float = _PAUSE_S) -> None:
    if not comes(what, _PATIENCE_S, pause_s):
        raise SystemExit(f"nothing came of it in {_PATIENCE_S:.0f} s")


def comes(what: Callable[[], bool], patience_s: float, pause_s: float = _PAUSE_S) -> bool:
    until_s = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > until_s:
            return False
        time.sleep(pause_s)
    return True


if __name__ == "__main__":
    main()
