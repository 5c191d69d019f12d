"""A day of an office in half an hour: a real daemon among people who never rest neither loses, misses nor swells.

In full it is drawn, as `soak.svg` beside the table of proofs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from paint import paint
from PIL import Image, ImageOps

from faults.scene import held, held_bytes, running, tree, write
from harness import Site, wait_for
from tally import PROVE, Counting

LASTS_S, PAUSE_S, SAMPLE_S = (1800.0, 0.2, 5.0) if PROVE else (10.0, 0.05, 0.25)
MOST_WAITING = 200
FILE_KB = 1.2  # what the index and the catalogue's cache may take for one file more
SWING_MB = 30 if PROVE else 60  # that allocators and caches swing by; the pixels of a tenth of the files are more
SWING_DESCRIPTORS, SWING_THREADS = 12, 3  # files being read just now, and the clustering beside

pytestmark = pytest.mark.timeout(int(LASTS_S) + 600)


@dataclass(frozen=True)
class Sample:
    """What the daemon takes at a moment, `minutes` after the first."""

    minutes: float
    memory_mb: float
    descriptors: int
    threads: int
    decoders_mb: float
    files: int
    waiting: int

    @classmethod
    def take(cls, site: Site, since_s: float) -> Sample:
        assert site.process is not None
        process = Path(f"/proc/{site.process.pid}")
        children = [pid for task in (process / "task").iterdir() for pid in (task / "children").read_text().split()]
        states = list(site.known().values())
        return cls(
            (time.monotonic() - since_s) / 60,
            _resident_mb(process),
            len(list((process / "fd").iterdir())),
            len(list((process / "task").iterdir())),
            sum(_resident_mb(Path("/proc", pid)) for pid in children if Path("/proc", pid).exists()),
            len(states),
            states.count("waiting"),
        )


def _resident_mb(process: Path) -> float:
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Office:
    """People at work in a share, and what must be there in the end. No path is used twice."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.random = random.Random(4)
        self.written: dict[bytes, bytes] = {}
        self.family: dict[bytes, int] = {}  # content -> the picture that it is, or is an edit of
        self.meddled: set[bytes] = set()  # contents of which one was linked, rewritten, deleted or put back
        self.junk: set[bytes] = set()
        self.done = 0

    def work(self) -> None:
        """Do one thing, as often as people do it."""
        actions = [
            (30, self.add), (20, self.copy), (12, self.edit), (8, self.litter), (12, self.rename), (6, self.rewrite),
            (6, self.delete), (3, self.link), (3, self.make_and_remove_folders),
        ]  # fmt: skip
        (action,) = self.random.choices([each for _, each in actions], [weight for weight, _ in actions])
        action()
        self.done += 1

    def add(self) -> None:
        file = io.BytesIO()
        paint(self.done, 160, 120).save(file, "JPEG", quality=85)
        self.family[file.getvalue()] = self.done
        self._drop("photo", file.getvalue())

    def copy(self) -> None:
        if self.family:
            self._drop("copy", self.random.choice(list(self.family)))

    def edit(self) -> None:
        if self.family:
            data = self.random.choice(list(self.family))
            file = io.BytesIO()
            with Image.open(io.BytesIO(data)) as image:
                change = self.random.choice([ImageOps.mirror, ImageOps.flip, ImageOps.grayscale])
                change(image).save(file, "JPEG", quality=80)
            self.family[file.getvalue()] = self.family[data]
            self._drop("edit", file.getvalue())

    def litter(self) -> None:
        whole = self.random.choice(list(self.family) or [b"nothing"])
        rubbish = [b"", b"a letter %d" % self.done, whole[: len(whole) // 2]]
        self.junk.add(self._drop("junk", self.random.choice(rubbish)))

    def rename(self) -> None:
        path = self._some()
        if path is not None:
            other = self._free("renamed")
            try:
                self._at(path).rename(self._at(other))
            except FileNotFoundError:
                return  # it is in quarantine by now
            self.written[other] = self.written.pop(path)
            if path in self.junk:
                self.junk.add(other)

    def rewrite(self) -> None:
        path = self._some()
        if path is not None and path not in self.junk:
            file = io.BytesIO()
            paint(self.done, 160, 120).save(file, "JPEG", quality=85)
            try:
                with self._at(path).open("r+b") as there:
                    there.truncate()
                    there.write(file.getvalue())
            except FileNotFoundError:
                return
            self.meddled.add(self.written[path])
            self.family[file.getvalue()] = self.done
            self.written[path] = file.getvalue()

    def delete(self) -> None:
        path = self._some()
        if path is not None:
            try:
                self._at(path).unlink()
            except FileNotFoundError:
                return
            self.meddled.add(self.written.pop(path))

    def link(self) -> None:
        path = self._some()
        if path is not None:
            other = self._free("link")
            try:
                self._at(other).hardlink_to(self._at(path))
            except FileNotFoundError:
                return
            self.meddled.add(self.written[path])
            self.written[other] = self.written[path]
            if path in self.junk:
                self.junk.add(other)

    def make_and_remove_folders(self) -> None:
        deep = self.site.share / f"new {self.done}" / "deep"
        deep.mkdir(parents=True)
        deep.rmdir()
        deep.parent.rmdir()

    def decide(self) -> None:
        """Put one file back, or say that it is no copy; rotate the log, and have it opened anew."""
        records = held(self.site.share)
        if records:
            record = self.random.choice(records)
            self.meddled.add(held_bytes(self.site.share, record))
            assert self.site.run(self.random.choice(["restore", "dismiss"]), record.id).returncode == 0
        if self.site.log_path.exists():
            self.site.log_path.rename(self.site.log_path.with_suffix(f".{self.done}"))
        assert self.site.process is not None
        self.site.process.send_signal(signal.SIGHUP)
        self.done += 1

    def lines(self) -> list[dict[str, str]]:
        """The lines of the log, of its rotated parts too."""
        logs = self.site.log_path.parent.iterdir()
        return [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]

    def _drop(self, kind: str, data: bytes) -> bytes:
        path = self._free(kind)
        write(self._at(path), data)
        self.written[path] = data
        return path

    def _free(self, kind: str) -> bytes:
        room = self.site.share / f"room {self.random.randrange(6)}"
        room.mkdir(exist_ok=True)
        return os.fsencode(room.relative_to(self.site.share) / f"{kind} {self.done}.jpg")

    def _some(self) -> bytes | None:
        return self.random.choice(list(self.written)) if self.written else None

    def _at(self, path: bytes) -> Path:
        return self.site.share / os.fsdecode(path)


def require_all_accounted_for(office: Office) -> None:
    """What was written is there or in quarantine, nobody was accused wrongly, and no equal file was missed."""
    share = office.site.share
    there, records, known = tree(share), held(share), office.site.known()
    moved = {record.path: held_bytes(share, record) for record in records}
    assert len(moved) == len(records), "a path was moved twice"
    assert there | moved == office.written
    assert known.keys() == there.keys()
    assert {path for path, state in known.items() if state == "unreadable"} == office.junk & there.keys()
    by_sha256 = {hashlib.sha256(data).hexdigest(): family for data, family in office.family.items()}
    for record in records:
        assert by_sha256[record.sha256] == by_sha256[record.original_sha256], "accused wrongly"
    living: dict[bytes, int] = defaultdict(int)
    for path, data in there.items():
        living[data] += path not in office.junk
    untouched = set(office.family) - office.meddled
    assert {data for data in untouched if living[data] > 1} == set(), "an equal file was missed"
    moved_lines = [line["id"] for line in office.lines() if line.get("action") == "quarantined"]
    assert len(set(moved_lines)) == len(moved_lines), "a line was written twice"
    assert {record.id for record in records} <= set(moved_lines)


def require_flat(samples: list[Sample]) -> None:
    """The end is compared with the second sixth: by then everything is loaded and has been used."""
    sixth = len(samples) // 6
    early, late = samples[sixth : 2 * sixth], samples[-sixth:]

    def most(which: Iterable[Sample], what: str) -> float:
        return max(getattr(sample, what) for sample in which)

    assert most(late, "descriptors") <= most(early, "descriptors") + SWING_DESCRIPTORS
    assert most(late, "threads") <= most(early, "threads") + SWING_THREADS
    growth_mb = statistics.median(s.memory_mb for s in late) - statistics.median(s.memory_mb for s in early)
    assert growth_mb <= FILE_KB * (late[-1].files - early[0].files) / 1024 + SWING_MB
    decoders_mb = statistics.median(s.decoders_mb for s in late) - statistics.median(s.decoders_mb for s in early)
    assert decoders_mb <= 3 * SWING_MB  # two that decode and one for evidence


def draw(samples: list[Sample], path: Path) -> None:
    from matplotlib.figure import Figure

    from twinwatch_training.drawing import COPY, GREY, STRANGER, save

    figure = Figure(figsize=(9, 6), layout="constrained")
    minutes = [sample.minutes for sample in samples]
    rows = (
        ("memory (MB)", {"daemon": "memory_mb", "its decoders": "decoders_mb"}),
        ("count", {"descriptors": "descriptors", "threads": "threads"}),
        ("files", {"known at a path": "files", "waiting": "waiting"}),
    )
    for axes, (label, lines) in zip(figure.subplots(len(rows), 1, sharex=True), rows, strict=True):
        for colour, (name, what) in zip((COPY, STRANGER), lines.items(), strict=True):
            axes.plot(minutes, [getattr(sample, what) for sample in samples], color=colour, label=name, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label, color=GREY)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, ncols=2, loc="lower right")
    axes.set_xlabel("minutes")
    figure.suptitle("A daemon among copies, edits, strangers, junk, renames and deletes", fontsize=10)
    save(figure, path)


def test_a_long_day_ends_with_all_accounted_for_and_nothing_grown(
    tmp_path: Path, bundle: Path, counting: Counting, request: pytest.FixtureRequest
) -> None:
    site = Site(tmp_path, bundle, settings={"settle_seconds": 0.2, "rescan_minutes": 5 if PROVE else 0.05})
    office = Office(site)
    samples: list[Sample] = []
    with counting("action on files in a soak of mixed arrivals, half an hour long in full") as tally, running(site):
        started_s = decided_s = time.monotonic()
        while time.monotonic() < started_s + LASTS_S:
            if not samples or time.monotonic() > started_s + SAMPLE_S * len(samples):
                samples.append(Sample.take(site, started_s))
            if samples[-1].waiting < MOST_WAITING:
                office.work()
            if time.monotonic() > decided_s + LASTS_S / 20:
                office.decide()
                decided_s = time.monotonic()
            time.sleep(PAUSE_S)
        tally.inject(office.done)
        wait_for(lambda: site.known().keys() == tree(site.share).keys() and "waiting" not in site.known().values(), 180)
        site.settled()
        assert site.process is not None
        assert site.process.poll() is None, site.stderr
        target: Path | None = request.config.getoption("--proofs")
        if target is not None:
            draw(samples, target.with_name("soak.svg"))
        require_all_accounted_for(office)
        require_flat(samples)
