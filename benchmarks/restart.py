"""Restart of a daemon that knows a million files: time until it is ready, memory, and the cost of a scan.

The files are real: sparse, of many sizes, in folders of a thousand. To judge a million pictures would take hours, so
the catalogue is written in bulk. Every file is in it as `kept`, with its real lstat, an invented hash, and an embedding
near one of the bundle's centroids. Then a real `twinwatch run` starts. Its memory is compared with that of a daemon on
an empty folder, and a scan of the unchanged files with `find` that prints the same lstat fields. It needs 5 GB of disk.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import yaml
from paint import paint
from proc import own_cpu_s
from rich.console import Console
from rich.table import Table

from twinwatch.config import Watch
from twinwatch.fs import folder_id, stat_regular
from twinwatch.search import Bundle, bundle_path, load_bundle
from twinwatch.store import Root, open_store
from twinwatch.store.sqlite import connect
from twinwatch.store.tables import contents, embeddings, files
from twinwatch.watching import scan_root

FILES_IN_FOLDER = 1000
ROUNDS = 3
TIMEOUT_S = 1800.0
IDLE_SHARE = 0.05
"""A daemon that uses less than this share of one core is idle."""

Row = tuple[str, str, str]
"""What is measured, its goal, its figure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--idle", type=float, default=60, help="seconds over which an idle daemon's CPU use is taken")
    parser.add_argument("--patience", type=float, default=600, help="seconds after which a busy daemon counts as idle")
    parser.add_argument("--scratch", type=Path, help="where files and catalogue are made, and left for the next run")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = arguments.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twinwatch-restart-")))
        known, empty = Site(home / "known", arguments.bundle), Site(home / "empty", arguments.bundle)
        if not known.catalog.exists():
            make_files(known.share, arguments.files)
            make_catalogue(known, load_bundle(bundle_path(arguments.bundle)))
        figures = {f"pass {name}": value for name, value in time_passes(known).items()}
        for site in (empty, known):
            lived = live(site, arguments.idle, arguments.patience)
            figures |= {f"{site.home.name} {name}": value for name, value in lived.items()}
    table = Table("what", "goal", "figure", title=f"{arguments.files:,} known files", box=None, title_justify="left")
    for row in rows(figures, arguments.files):
        table.add_row(*row)
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"files": arguments.files, **figures}, indent=1) + "\n")


class Site:
    """A watched share, its state and a daemon's configuration."""

    def __init__(self, home: Path, bundle: str) -> None:
        self.home, self.share, self.config = home, home / "share", home / "config.yaml"
        self.state = home / "state"
        self.catalog = self.state / "catalog.db"
        for folder in (self.share, self.state):
            folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "watch": [{"path": str(self.share)}],
            "state_dir": str(self.state),
            "duplicates_log": str(home / "duplicates.jsonl"),
            "model": {"bundle": bundle, "device": "cpu"},
        }
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")


def make_files(share: Path, count: int) -> None:
    """Write sparse files, no two of the same size."""
    for first in range(0, count, FILES_IN_FOLDER):
        folder = share / f"{first // FILES_IN_FOLDER:05}"
        folder.mkdir()
        for number in range(first, min(count, first + FILES_IN_FOLDER)):
            fd = os.open(folder / f"{number:07}.jpg", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.ftruncate(fd, 10_000 + number)
            os.close(fd)


def make_catalogue(site: Site, bundle: Bundle) -> None:
    """Write the catalogue of a daemon that has judged every file of the share and kept it."""
    store = open_store(site.catalog)
    root = store.roots.add(site.share, folder_id(site.share), time.time_ns())
    store.commit()
    store.close()
    rng = np.random.default_rng(0)
    connection = connect(site.catalog)
    known = 0
    for folder in sorted(site.share.iterdir()):
        kept = list(_kept(folder, root, known + 1))
        vectors = bundle.centroids[rng.integers(0, len(bundle.centroids), len(kept))]  # [n, 256]
        vectors = vectors + rng.normal(0, 1 / 16, vectors.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        held = [
            {
                "id": file["id"],
                "sha256": hashlib.sha256(file["name"]).hexdigest(),
                "size_bytes": file["size_bytes"],
                "width": 640,
                "height": 480,
                "format": "JPEG",
            }
            for file in kept
        ]
        embedded = [
            {"content_id": file["id"], "bundle_id": bundle.id, "vector": vector.tobytes()}
            for file, vector in zip(kept, vectors.astype("<f4"), strict=True)
        ]
        for table, values in ((contents, held), (files, kept), (embeddings, embedded)):
            connection.execute(sa.insert(table), values)
        connection.commit()
        known += len(kept)
    connection.close()


def _kept(folder: Path, root: Root, first: int) -> Iterator[dict[str, Any]]:
    for number, path in enumerate(sorted(folder.iterdir()), first):
        seen = stat_regular(os.fsencode(path))
        assert seen is not None
        yield {
            "id": number,
            "root_id": root.id,
            "folder": os.fsencode(folder.name),
            "name": os.fsencode(path.name),
            "device": seen.device,
            "inode": seen.inode,
            "size_bytes": seen.size_bytes,
            "mtime_ns": seen.mtime_ns,
            "ctime_ns": seen.ctime_ns,
            "links": seen.links,
            "content_id": number,
            "state": "kept",
            "standing": True,
            "arrived_ns": seen.mtime_ns,
            "kept_ns": seen.mtime_ns,
        }


def time_passes(site: Site) -> dict[str, float]:
    """Time a scan of the unchanged share and `find`, alternately; return medians, and ratios of ours to find's."""
    store = open_store(site.catalog)
    root = store.roots.all(site.share)[0]
    find = ["find", str(site.share), "-printf", "%D %i %s %T@ %C@ %n\n"]
    changed: list[object] = []
    wall: dict[str, list[float]] = {"ours": [], "find": []}
    cpu: dict[str, list[float]] = {"ours": [], "find": []}
    for number in range(ROUNDS + 1):
        for name, work in (
            ("find", lambda: subprocess.run(find, check=True, stdout=subprocess.DEVNULL)),
            ("ours", lambda: scan_root(Watch(path=site.share), root, store, changed.append, lambda: False)),
        ):
            started_s, started_cpu_s = time.perf_counter(), _cpu_s()
            work()
            if number:  # the first round only fills the kernel's cache
                wall[name].append(time.perf_counter() - started_s)
                cpu[name].append(_cpu_s() - started_cpu_s)
    store.close()
    if changed:
        raise SystemExit(f"the pass found {len(changed)} of the unchanged files changed")
    return {
        "s": float(np.median(wall["ours"])),
        "find s": float(np.median(wall["find"])),
        "ratio": float(np.median(np.divide(wall["ours"], wall["find"]))),
        "cpu ratio": float(np.median(np.divide(cpu["ours"], cpu["find"]))),
    }


def live(site: Site, idle_s: float, patience_s: float) -> dict[str, float]:
    """Start a daemon, add a picture when it is ready, wait until it is idle, end it, and measure each step."""
    figures: dict[str, float] = {}
    log = site.home / "daemon.log"
    new_file = site.share / "new.jpg"
    address = site.home / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, log.open("wb") as messages:
        channel.bind(str(address))
        channel.settimeout(TIMEOUT_S)
        command = [sys.executable, "-m", "twinwatch", "run", "-v", "-c", str(site.config)]
        started_s = time.monotonic()
        process = subprocess.Popen(command, stderr=messages, env={**os.environ, "NOTIFY_SOCKET": str(address)})
        while b"READY=1" not in channel.recv(4096):
            pass
    figures["ready s"], figures["ready cpu s"] = time.monotonic() - started_s, own_cpu_s(process.pid)
    paint(time.time_ns() % (1 << 32)).save(new_file)
    for name, words in (("scanned s", " scanned "), ("judged s", new_file.name)):
        while words not in log.read_text() and process.poll() is None:
            time.sleep(0.05)
        figures[name] = time.monotonic() - started_s
    figures["judged cpu s"] = own_cpu_s(process.pid)
    while _core_share(process.pid, 5) > IDLE_SHARE and time.monotonic() - started_s < patience_s:
        continue
    figures["at rest s"] = time.monotonic() - started_s
    figures["idle use"] = _core_share(process.pid, idle_s)
    figures["memory bytes"] = 1024 * _field(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss:")
    figures["peak bytes"] = 1024 * _field(Path(f"/proc/{process.pid}/status"), "VmHWM:")
    figures["judged"] = _field(site.state / "metrics.prom", "twinwatch_judged_total")
    new_file.unlink()
    process.terminate()
    asked_s = time.monotonic()
    if process.wait(TIMEOUT_S):
        raise SystemExit(log.read_text())
    return figures | {"ending s": time.monotonic() - asked_s}


def rows(figures: dict[str, float], count: int) -> Iterator[Row]:
    """Yield the rows of the printed table."""
    decoded = figures["known judged"] - 1  # all but the new file
    yield "ready after a restart", "15 s", f"{figures['known ready s']:.1f} s"
    yield "the same in CPU time", "", f"{figures['known ready cpu s']:.1f} s"
    yield "files decoded again", "0", f"{decoded:.0f}"
    yield "first pass in the daemon done, after the start", "", f"{figures['known scanned s']:.1f} s"
    yield "first new picture judged, after the start", "", f"{figures['known judged s']:.1f} s"
    yield "CPU time until pass and index are done", "", f"{figures['known judged cpu s']:.1f} s"
    yield "at rest, after the start", "", f"{figures['known at rest s']:.0f} s"
    yield "ended, after it was told to", "", f"{figures['known ending s']:.1f} s"
    for name, goal in (("memory", "1.2 KB a file"), ("peak", "")):
        above_kb = (figures[f"known {name} bytes"] - figures[f"empty {name} bytes"]) / 1000
        yield f"{name} above an empty folder's", goal, f"{above_kb / count:.2f} KB a file"
    yield "a pass over unchanged files", "3 times find", f"{figures['pass ratio']:.1f} times, {figures['pass s']:.1f} s"
    yield "the same in CPU time", "", f"{figures['pass cpu ratio']:.1f} times"
    yield "an idle daemon's use of a core", "", f"{100 * figures['known idle use']:.1f}%"
    yield "the same over an empty folder", "", f"{100 * figures['empty idle use']:.1f}%"


def _cpu_s() -> float:
    """Return the CPU time in seconds of this process and of the children that it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _core_share(pid: int, seconds: float) -> float:
    """Return the share of one core that a process, without its children, uses over `seconds`."""
    before_s, started_s = own_cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (own_cpu_s(pid) - before_s) / (time.monotonic() - started_s)


def _field(path: Path, name: str) -> float:
    """Return the number after `name` in a file of names and numbers."""
    lines = (line.split() for line in path.read_text().splitlines())
    return next(float(line[1]) for line in lines if line[:1] == [name])


if __name__ == "__main__":
    main()
