"""Runs `scan`, `latency`, `search`, `restart` and `gpu`, and prints every figure of speed beside its goal.

The docstring of each script says how it measures. A ratio is always of two times from one run. The whole takes about an
hour. The ratios of search need faiss-cpu, those of scan the tools that `scan.py` names, and the rows of the GPU a GPU
and torch. The table says which rows could not be measured and why.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_AT_LEAST, _AT_MOST = operator.ge, operator.le
_BASELINES = ("findimagedupes", "difpy", "fastdup")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. `reached` is None if there is no figure."""

    what: str
    goal: str
    figure: str
    reached: bool | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="photos to scan and to search; painted ones if not given")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="of the libraries that are searched")
    parser.add_argument("--files", type=int, default=1_000_000, help="that a daemon knows at its start")
    parser.add_argument("--repeat", type=int, default=3, help="how often scan runs each baseline")
    parser.add_argument("--drops", type=int, default=100, help="onto an idle daemon")
    parser.add_argument("--peers", default=sys.executable, help="the Python that has difPy and fastdup")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pictures = [] if arguments.pictures is None else [str(arguments.pictures)]
    like = ["--like", *pictures] if pictures else []
    with tempfile.TemporaryDirectory(prefix="twinwatch-bench-") as scratch:
        found = {
            "scan": run("scan", scratch, *like, "--repeat", str(arguments.repeat), "--peers", arguments.peers),
            "latency": run("latency", scratch, "--drops", str(arguments.drops)),
            "search": run("search", scratch, *pictures, "--sizes", arguments.sizes, "--file", scratch),
            "restart": run("restart", scratch, "--files", str(arguments.files)),
            "gpu": {"missing": no_gpu()} if no_gpu() else run("gpu", scratch, *pictures),
        }
    figures = list(rows(found))
    show(figures)
    if arguments.json is not None:
        table = [asdict(figure) for figure in figures]
        arguments.json.write_text(json.dumps({"table": table, **found}, indent=2) + "\n", encoding="utf-8")


def run(script: str, scratch: str, *options: str) -> dict[str, Any]:
    """Run a script and return the figures that it wrote. Raises CalledProcessError if it fails."""
    answer = Path(scratch, f"{script}.json")
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), *options, "--json", str(answer)]
    print(f"{script} {' '.join(options)}", flush=True)
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": scratch})
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def no_gpu() -> str:
    """Return why nothing can be measured on a GPU, or an empty string."""
    if not Path("/dev/nvidiactl").exists():
        return "no GPU"
    return "" if find_spec("torch") else "no torch, which `make training` installs"


def rows(found: dict[str, dict[str, Any]]) -> Iterator[Figure]:
    """Yield the rows of the table from the figures of each script."""
    yield from of_scan(found["scan"])
    latency, restart = found["latency"], found["restart"]
    yield at_most(
        "a drop of 12 megapixels to its verdict, above the settle time, median", latency["median_ms"], 150, "ms"
    )
    yield at_most("the same, 99%", latency["p99_ms"], 500, "ms")
    yield from of_search(found["search"])
    known = f"with {restart['files']:,} files known"
    yield at_most(f"ready after a restart {known}", restart["known ready s"], 15, "s")
    yield at_most("files decoded again", restart["known judged"] - 1, 0, "")
    above = (restart["known memory bytes"] - restart["empty memory bytes"]) / 1000 / restart["files"]
    yield at_most("memory above an empty folder's, a file", above, 1.2, "KB")
    yield at_most(f"a pass {known}, against find -printf, processor time", restart["pass cpu ratio"], 3, "times")
    yield at_most("memory of the daemon, workers included", latency["after_mb"], 500, "MB")
    yield from of_gpu(found["gpu"])


def of_scan(scan: dict[str, Any]) -> Iterator[Figure]:
    """Yield the speed of a scan as a multiple of a baseline's: its time divided by ours."""
    for folder, title, goals in (
        ("small", "scan of 1,000 photos of 110 KB", {"phash": 1.5, "floor": 0.6}),
        ("large", "scan of 100 photos of 12 megapixels", {"phash": 4.0, "floor": 0.85}),
    ):
        runs, ratios = scan[folder]["runs"], scan[folder]["ratios"]
        for name in (*goals, *_BASELINES):
            what = f"{title}, speed of {name}'s"
            if name not in ratios:
                yield Figure(what, "", f"not measured: {scan[folder]['missing'][name]}", None)
            elif name in goals:
                yield at_least(what, ratios[name]["wall"], goals[name], "times")
            else:
                yield at_least(what, ratios[name]["wall"], 1.0, "times")
                ours, theirs = runs["twinwatch"][-1]["copies"], runs[name][-1]["copies"]
                yield Figure("copies found", f"more than {theirs}", str(ours), ours > theirs)


def of_search(search: dict[str, Any]) -> Iterator[Figure]:
    """Yield the times of exact queries within the shipped radius."""
    by_size = {int(row["size"]): row for row in search["sizes"]}
    for size, goal_ms in ((1_000_000, 3), (10_000_000, 20)):
        what = f"exact nearest 20 of {size:,} within the radius, one core"
        if size in by_size:
            yield at_most(what, by_size[size]["nearest_ms"], goal_ms, "ms")
        else:
            yield Figure(what, f"at most {goal_ms} ms", "not measured: not among --sizes", None)
    row = by_size.get(1_000_000, {})
    for name, goal in (("IndexFlatL2", 30.0), ("IndexIVFFlat", 1.0)):
        theirs = next((value for baseline, value in row.items() if baseline.startswith(name)), None)
        what = f"the same of 1,000,000, speed of faiss {name}'s{' at full recall' if goal == 1 else ''}"
        if theirs is None:
            yield Figure(what, f"at least {goal:g} times", "not measured: needs faiss-cpu and this size", None)
        else:
            yield at_least(what, theirs / row["nearest_ms"], goal, "times")
    sizes = sorted(by_size)
    grown = by_size[sizes[-1]]["nearest_ms"] / by_size[sizes[0]]["nearest_ms"]
    yield at_most(f"time of a query, {sizes[0]:,} to {sizes[-1]:,}", grown, sizes[-1] // sizes[0], "times")


def of_gpu(gpu: dict[str, Any]) -> Iterator[Figure]:
    """Yield the figures of training, encoding and scanning on a GPU."""
    busy, speed = "training: share of an epoch in which the GPU is busy", "encoding on the GPU, pictures a second"
    if "missing" in gpu:
        yield Figure(busy, "at least 80 %", f"not measured: {gpu['missing']}", None)
        yield Figure(speed, "at least 50,000", f"not measured: {gpu['missing']}", None)
        return
    yield at_least(busy, 100 * gpu["training"]["busy_share"], 80, "%")
    for size, per_s in gpu["encoding"]["per_s"].items():
        yield at_least(f"{speed}, in batches of {size}", per_s, 50_000, "")
    yield at_most(
        "the same scan with the GPU, of that without", gpu["scan_s"]["cuda"] / gpu["scan_s"]["cpu"], 1, "times"
    )


def at_least(what: str, figure: float, goal: float, unit: str) -> Figure:
    return _figure(what, figure, goal, unit, "at least", _AT_LEAST)


def at_most(what: str, figure: float, goal: float, unit: str) -> Figure:
    return _figure(what, figure, goal, unit, "at most", _AT_MOST)


def _figure(
    what: str, figure: float, goal: float, unit: str, words: str, good: Callable[[float, float], bool]
) -> Figure:
    digits = 0 if figure >= 100 or figure == int(figure) else 1 if figure >= 10 else 2
    return Figure(what, f"{words} {goal:,g} {unit}".strip(), f"{figure:,.{digits}f} {unit}".strip(), good(figure, goal))


def show(figures: list[Figure]) -> None:
    table = Table("what", "goal", "figure", "reached", box=None, title="Speed", title_justify="left")
    for each in figures:
        answer = "" if each.reached is None else "yes" if each.reached else "no"
        table.add_row(each.what, each.goal, each.figure, answer)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
