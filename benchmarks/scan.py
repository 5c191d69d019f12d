"""Compares `twinwatch scan` with other duplicate finders on the same folders: times, ratios of times, copies found.

Each folder is copied and gets an edited copy of every twentieth picture, by one edit after the other. Every tool starts
as a new program, and the tools alternate, so that other load on the machine affects all of them. `floor` only reads,
hashes and decodes. pHash runs in this Python. findimagedupes has to be installed on the system, difPy and fastdup in
the Python of --peers, as they need old libraries.

Without a folder two are made: 1,000 pictures of 768x576 and about 110 KB, and 100 of 12 megapixels. They are made from
the pictures in the folder of --like, enlarged, or painted. Painted pictures are the hard case: their embeddings are so
close together that evidence has to compare nearly each one with twenty others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import baselines
import numpy as np
from paint import paint
from PIL import Image

from twinwatch.calibration import EDITS, edit_file, pictures_below

MADE = {"small": (1000, 768, 576, 88), "large": (100, 4000, 3000, 80)}  # how many, width, height, quality
_PAINT_MOST = 1000  # pixels; wider pictures are painted at most so wide and then enlarged
_EVERY = 20  # one picture in so many gets a copy
_OURS = "twinwatch"
_OLD_S, _AGE_S = 1_000_000_000, 10


@dataclass(frozen=True, slots=True)
class Run:
    """Wall time and CPU time in seconds, and how many pairs were found: of copies (right) and of strangers (wrong)."""

    wall_s: float
    cpu_s: float
    copies: int
    strangers: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="pictures; made ones if not given")
    parser.add_argument("--like", type=Path, help="a folder with pictures to make others of")
    parser.add_argument("--repeat", type=int, default=3, help="how often each tool runs")
    parser.add_argument("--against", default=",".join(baselines.BASELINES), help="only these, by name")
    parser.add_argument("--peers", default=sys.executable, help="the Python that has difPy and fastdup")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = [_OURS, *arguments.against.split(",")]
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="twinwatch-scan-") as scratch:
        sources = None if arguments.like is None else pictures_below(arguments.like)
        folders = arguments.folders or [made(Path(scratch, title), *MADE[title], sources) for title in MADE]
        for number, folder in enumerate(folders):
            laid = Path(scratch, f"laid-{number}")
            pictures, copies = lay_out(laid, folder)
            print(f"{folder.name}: {pictures + copies} files, {copies} of them edited copies of others", flush=True)
            results[folder.name] = compare(laid, names, arguments.peers, arguments.repeat)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def made(folder: Path, count: int, width: int, height: int, quality: int, sources: list[Path] | None) -> Path:
    """Make `count` pictures, or one of each source if these are fewer."""
    folder.mkdir()
    for number, source in enumerate([None] * count if sources is None else sources[:count]):
        photo(number, width, height, source).save(folder / f"{number:04}.jpg", quality=quality)
    return folder


def photo(seed: int, width: int, height: int, source: Path | None = None) -> Image.Image:
    """Return a picture, painted or from a file, with the noise of a sensor, which takes most bytes of a real JPEG."""
    if source is None:
        part = max(1, -(-width // _PAINT_MOST))
        drawn = paint(seed, width // part, height // part)
    else:
        drawn = Image.open(source).convert("RGB")
        if drawn.height > drawn.width:
            width, height = height, width
    pixels = np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC), np.int16)  # [H, W, 3]
    grain = np.random.default_rng(seed).normal(0, 6, (256, 256, 1)).astype(np.int16)
    tiled = np.tile(grain, (height // 256 + 1, width // 256 + 1, 1))[:height, :width]  # [H, W, 1]
    return Image.fromarray(np.clip(pixels + tiled, 0, 255).astype(np.uint8))


def lay_out(folder: Path, source: Path) -> tuple[int, int]:
    """Write originals as `N.ext` and younger copies as `N--edit.jpg`. Returns (originals, copies) in numbers."""
    folder.mkdir()
    paths = pictures_below(source)
    written = []
    for number, path in enumerate(paths):
        written.append(folder / f"{number:05}{path.suffix.lower()}")
        written[-1].write_bytes(path.read_bytes())
    for done, number in enumerate(range(0, len(paths), _EVERY)):
        edit = list(EDITS)[done % len(EDITS)]
        written.append(folder / f"{number:05}--{edit}.jpg")
        save(edit, paths[number], written[-1])
    for age, path in enumerate(written):
        os.utime(path, (_OLD_S + age * _AGE_S,) * 2)
    return len(paths), len(written) - len(paths)


def save(edit: str, source: Path, target: Path) -> None:
    """Write an edited copy of a picture."""
    Image.fromarray(edit_file(source, edit)).save(target, quality=90)


def compare(folder: Path, names: list[str], peers: str, repeat: int) -> dict[str, object]:
    """Run the tools alternately, print their medians, and return all figures and why tools are missing."""
    runs: dict[str, list[Run]] = {}
    missing: dict[str, str] = {}
    for _ in range(repeat):
        for name in names:
            if name not in missing:
                try:
                    runs.setdefault(name, []).append(run(name, folder, peers))
                except (OSError, subprocess.CalledProcessError) as error:
                    missing[name] = str(error)
    table = {name: median(each) for name, each in runs.items() if name not in missing}
    ours = table[_OURS]
    print(f"{'':16}{'seconds':>9}{'CPU':>9}{'its time / ours':>17}{'CPU':>7}{'copies':>8}{'strangers':>11}")
    for name, each in table.items():
        print(
            f"{name:16}{each.wall_s:9.2f}{each.cpu_s:9.2f}{each.wall_s / ours.wall_s:17.2f}"
            f"{each.cpu_s / ours.cpu_s:7.2f}{each.copies:8}{each.strangers:11}",
            flush=True,
        )
    for name, why in missing.items():
        print(f"{name:16} does not run here: {why}", flush=True)
    ratios = {name: {"wall": each.wall_s / ours.wall_s, "cpu": each.cpu_s / ours.cpu_s} for name, each in table.items()}
    return {
        "runs": {name: [asdict(each) for each in all_runs] for name, all_runs in runs.items()},
        "ratios": ratios,
        "missing": missing,
    }


def run(name: str, folder: Path, peers: str) -> Run:
    """Run a tool once. Raises OSError if it cannot be started or fails."""
    if name == _OURS:
        command = [sys.executable, "-m", "twinwatch", "scan", str(folder), "--format", "jsonl"]
    else:
        python = peers if name in ("difpy", "fastdup") else sys.executable
        command = [python, baselines.__file__, name, str(folder)]
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as messages:
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=answer, stderr=messages, cwd=folder.parent)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            last = (messages.read().strip().splitlines() or ["no message"])[-1]
            raise OSError(f"exit code {process.returncode}: {last}")
        answer.seek(0)
        pairs = {pair for line in answer for pair in named(json.loads(line))}
    right = {pair for pair in pairs if len({Path(each).stem.split("--")[0] for each in pair}) == 1}
    return Run(wall_s, usage.ru_utime + usage.ru_stime, len(right), len(pairs - right))


def named(found: list[str] | dict[str, str]) -> list[frozenset[str]]:
    """Return the pairs of file names in a group of names or in one line of `twinwatch scan`."""
    names = [Path(found["path"]).name, Path(found["duplicate_of"]).name] if isinstance(found, dict) else found
    return [frozenset(pair) for pair in combinations(dict.fromkeys(names), 2)]


def median(runs: list[Run]) -> Run:
    """Return the median times and the pairs of the last run, as each tool finds the same pairs every time."""
    last = runs[-1]
    return Run(
        statistics.median(each.wall_s for each in runs),
        statistics.median(each.cpu_s for each in runs),
        last.copies,
        last.strangers,
    )


if __name__ == "__main__":
    main()
