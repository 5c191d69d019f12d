"""Soak test: people write, copy, edit, rename and delete without pause, for half an hour under `make prove`.

The daemon must lose no file, miss no copy and leak nothing. Its memory, descriptors and threads are drawn into
`soak.svg`, beside the table of proofs.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from paint import paint
from PIL import Image

from daemon_site import Site, wait_for
from fault_counts import PROVE, Counting
from faults.fixtures import held_bytes, paths, running, tree, write
from twinwatch.calibration import EDITS
from twinwatch.quarantine import Quarantine, Record
from twinwatch.store import Store, open_store

PEOPLE = 4
LASTS_S, PAUSE_S, SAMPLE_S, DECIDE_S = (1800.0, 0.8, 5.0, 60.0) if PROVE else (6.0, 0.25, 0.2, 2.0)
LEAST_FILES = 40  # the day is longer where fewer have come: what leaks a descriptor or a thread for each is then seen
RESCAN_MINUTES = 1 if PROVE else 0.02
LONG_S = 1200.0 if PROVE else 120.0
MOST_WAITING = 20  # people wait then: on a busy machine evidence for one picture may take half a minute

FILE_KB = 1.2  # what the index and the catalogue's cache take for one file more
SWING_MB = 20 if PROVE else 60  # that allocators and caches swing by; in full this is 5 KB a file, less than its pixels
SWING_DECODERS_MB = 3 * (30 if PROVE else 120)  # for each its last pictures; in short it may be starting all along
SWING_COUNT = {"descriptors": 12, "threads": 3, "decoders": 1 if PROVE else 3}
"""Pipes to the decoders, files of the quarantine and the catalogue; the clustering beside; one that is replaced."""

pytestmark = pytest.mark.timeout(int(LASTS_S + 2 * LONG_S) + 120)


@dataclass(frozen=True)
class Sample:
    """The resources that the daemon uses at one moment, `minutes` after the start."""

    minutes: float
    memory_mb: float
    descriptors: int
    threads: int
    decoders: int
    decoders_mb: float
    files: int  # that were ever known
    waiting: int

    @classmethod
    def take(cls, site: Site, store: Store, since_s: float) -> Sample:
        assert site.process is not None
        process = Path(f"/proc/{site.process.pid}")
        tasks = list((process / "task").iterdir())
        children = [pid for task in tasks for pid in _read(task / "children").split()]
        return cls(
            (time.monotonic() - since_s) / 60,
            _resident_mb(process),
            len(list((process / "fd").iterdir())),
            len(tasks),
            len(children),
            sum(_resident_mb(Path("/proc", pid)) for pid in children),
            store.files.ever_seen(site.share),
            store.queue.count(),
        )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return ""


def _resident_mb(process: Path) -> float:
    return int((_read(process / "statm") or "0 0").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(eq=False)
class File:
    """A file that somebody wrote. Its names, if they are several, share it."""

    data: bytes
    family: int | None  # the picture that it is, or is an edit of; None where it is junk

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class Office:
    """The people at work in a share, and a record of all they did to it. They use no path twice."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.closed = threading.Event()
        self.crowded = False
        self.people = [Person(self, number) for number in range(PEOPLE)]
        self.family: dict[bytes, int] = {}  # every content -> the picture that it is, or is an edit of
        self.meddled: set[bytes] = set()  # contents of which one was linked, rewritten, deleted or put back
        self.bereft: set[int] = set()  # pictures of whose files people took one away
        self.left: dict[tuple[bytes, str], str] = {}  # path and sha256 -> by when people had taken it from there

    @property
    def files(self) -> dict[bytes, File]:
        return {path: file for person in self.people for path, file in person.files.items()}

    @property
    def done(self) -> int:
        return sum(person.done for person in self.people)

    def take(self, path: bytes, file: File) -> None:
        """Note that a content has just left a path, by somebody's hand."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self.left[path, file.sha256] = now.replace("+00:00", "Z")

    def administer(self) -> None:
        """Now and then, put one file back or say that it is no copy; rotate the log, and have it opened anew."""
        random_ = random.Random(4)
        while not self.closed.wait(DECIDE_S):
            records = self.records("quarantined")
            if records:
                record = random_.choice(records)
                self.meddled.add(held_bytes(self.site.share, record))
                told = self.site.run(random_.choice(["restore", "dismiss"]), record.id)
                assert told.returncode == 0, told.stderr
            if self.site.log_path.exists():
                self.site.log_path.rename(self.site.log_path.with_suffix(f".{self.done}.{time.monotonic_ns()}"))
            assert self.site.process is not None
            self.site.process.send_signal(signal.SIGHUP)

    def records(self, *states: str) -> list[Record]:
        return [record for record in Quarantine(self.site.share).records() if record.state in states]

    def lines(self) -> list[dict[str, str]]:
        """The lines of the log, of its rotated parts too."""
        logs = self.site.log_path.parent.iterdir()
        return [json.loads(line) for log in logs for line in log.read_text(encoding="utf-8").splitlines()]


class Person:
    """One person, who writes files and changes only their own."""

    def __init__(self, office: Office, number: int) -> None:
        self.office, self.number = office, number
        self.random = random.Random(number)
        self.files: dict[bytes, File] = {}
        self.done = 0

    def work(self) -> None:
        """Do one thing after the other, each as often as people do it, until the office closes."""
        actions = {
            self.add: 30, self.copy: 20, self.edit: 12, self.litter: 8, self.rename: 12, self.rewrite: 6,
            self.delete: 6, self.link: 3, self.make_and_remove_folders: 3,
        }  # fmt: skip
        while not self.office.closed.wait(self.random.uniform(0, 2 * PAUSE_S)):
            if not self.office.crowded:
                (action,) = self.random.choices(list(actions), list(actions.values()))
                try:
                    action()
                except FileNotFoundError:
                    continue  # it is in quarantine by now
                self.done += 1

    def add(self) -> None:
        self._drop("photo", self._picture())

    def copy(self) -> None:
        if known := list(self.office.family):
            data = self.random.choice(known)
            self._drop("copy", File(data, self.office.family[data]))

    def edit(self) -> None:
        if known := list(self.office.family):
            data = self.random.choice(known)
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))  # [H, W, 3]
            edited = Image.fromarray(EDITS[self.random.choice(list(EDITS))](pixels))
            self._drop("edit", self._saved(edited, self.office.family[data]))

    def litter(self) -> None:
        whole = self.random.choice(list(self.office.family) or [b"nothing"])
        rubbish = [b"", b"a letter %d of %d" % (self.done, self.number), whole[: len(whole) // 2]]
        self._drop("junk", File(self.random.choice(rubbish), None))

    def rename(self) -> None:
        path, other = self._some(), self._free("renamed")
        self._at(path).rename(self._at(other))
        file = self.files[other] = self.files.pop(path)
        self.office.take(path, file)

    def rewrite(self) -> None:
        """Under all its names, and junk too."""
        path, picture = self._some(), self._picture()
        with self._at(path).open("r+b") as there:
            there.truncate()
            there.write(picture.data)
        file = self.files[path]
        names = [name for name, other in self.files.items() if other is file]
        for name in names:
            self._lose(name)
        file.data, file.family = picture.data, picture.family
        if len(names) > 1:
            self.office.meddled.add(picture.data)

    def delete(self) -> None:
        path = self._some()
        self._at(path).unlink()
        self._lose(path)
        del self.files[path]

    def link(self) -> None:
        path, other = self._some(), self._free("link")
        self._at(other).hardlink_to(self._at(path))
        self.files[other] = self.files[path]
        self.office.meddled.add(self.files[path].data)

    def make_and_remove_folders(self) -> None:
        deep = self.office.site.share / f"new {self.number}-{self.done}" / "deep"
        deep.mkdir(parents=True)
        deep.rmdir()
        deep.parent.rmdir()

    def _lose(self, path: bytes) -> None:
        file = self.files[path]
        self.office.take(path, file)
        self.office.meddled.add(file.data)
        if file.family is not None:
            self.office.bereft.add(file.family)

    def _picture(self) -> File:
        number = PEOPLE * self.done + self.number
        return self._saved(paint(number, 160, 120), number)

    def _saved(self, image: Image.Image, family: int) -> File:
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=85)
        self.office.family[stored.getvalue()] = family
        return File(stored.getvalue(), family)

    def _drop(self, kind: str, file: File) -> None:
        path = self._free(kind)
        self.files[path] = file
        write(self._at(path), file.data)

    def _free(self, kind: str) -> bytes:
        room = self.office.site.share / f"room {self.random.randrange(6)}"
        room.mkdir(exist_ok=True)
        return os.fsencode(f"{room.name}/{kind} {self.number}-{self.done}.jpg")

    def _some(self) -> bytes:
        """A path of one's own. Raises FileNotFoundError where there is none yet."""
        if not self.files:
            raise FileNotFoundError
        return self.random.choice(list(self.files))

    def _at(self, path: bytes) -> Path:
        return self.office.site.share / os.fsdecode(path)


def require_all_accounted_for(office: Office, counts: dict[str, int]) -> None:
    """Assert that each file is in place or in quarantine, no wrong one was moved, and no exact copy was missed."""
    share, files = office.site.share, office.files
    there, known, records = tree(share), office.site.known(), office.records("quarantined")
    moved = {record.path: held_bytes(share, record) for record in records}
    assert len(moved) == len(records), "a path was moved twice"
    assert not there.keys() & moved.keys()
    assert there | moved == {path: file.data for path, file in files.items()}
    assert known.keys() == there.keys()
    assert set(known.values()) <= {"kept", "duplicate", "restored", "link", "unreadable"}
    named = {path: files[path] for path, state in known.items() if state != "link"}
    assert set(named.values()) == {files[path] for path in there}, "all names of a file are links of each other"
    for path, file in named.items():
        assert (known[path] == "unreadable") == (file.family is None), path
    assert counts["quarantined"] == len(records)
    require_originals(office)
    living = Counter(data for data in there.values() if data in office.family)
    untouched = office.family.keys() - office.meddled
    assert {data for data in untouched if living[data] > 1} == set(), "an equal file was missed"
    lines = [line["id"] for line in office.lines() if line.get("action") == "quarantined"]
    assert sorted(lines) == sorted(record.id for record in office.records("quarantined", "restored"))


def require_originals(office: Office) -> None:
    """Assert that each moved file had an original of its own family then, and each picture still has a file."""
    by_sha256 = {hashlib.sha256(data).hexdigest(): family for data, family in office.family.items()}
    moved = {(record.path, record.sha256): record.changed_at for record in office.records("quarantined")}
    for record in office.records("quarantined", "restored"):
        original = record.original_path, record.original_sha256
        assert by_sha256[record.sha256] == by_sha256[record.original_sha256], "accused wrongly"
        assert record.intended_at <= (office.left | moved).get(original, record.intended_at), "its original was gone"
    files = office.files
    written = {file.family for file in files.values()} - {None}
    living = {files[path].family for path in paths(office.site.share)}
    assert written - living <= office.bereft, "the last file of a picture was moved"


def require_flat(samples: list[Sample]) -> None:
    """Assert that the daemon uses no more at the end than in the second sixth, when everything has been loaded."""
    sixth = len(samples) // 6
    early, late = samples[sixth : 2 * sixth], samples[-2 * sixth :]

    def values(which: Iterable[Sample], what: str) -> list[float]:
        return [getattr(sample, what) for sample in which]

    for what, swing in SWING_COUNT.items():
        assert max(values(late, what)) <= max(values(early, what)) + swing, what
    fitted = samples[2 * sixth :]
    files = values(fitted, "files")
    mb_per_file, _ = np.polyfit(files, values(fitted, "memory_mb"), 1)
    assert (mb_per_file - FILE_KB / 1024) * (files[-1] - files[0]) <= SWING_MB
    decoders_mb = [statistics.median(values(which, "decoders_mb")) for which in (early, late)]
    assert decoders_mb[1] <= decoders_mb[0] + SWING_DECODERS_MB


def draw(samples: list[Sample], path: Path) -> None:
    from matplotlib.figure import Figure

    from twinwatch_training.plots import COPY, GREY, STRANGER, save

    figure = Figure(figsize=(9, 6), layout="constrained")
    minutes = [sample.minutes for sample in samples]
    rows = (
        ("memory (MB)", {"daemon": "memory_mb", "its decoders": "decoders_mb"}),
        ("count", {"descriptors": "descriptors", "threads": "threads", "decoders": "decoders"}),
        ("files", {"ever known": "files", "waiting": "waiting"}),
    )
    for axes, (label, lines) in zip(figure.subplots(len(rows), 1, sharex=True), rows, strict=True):
        for colour, (name, what) in zip((COPY, STRANGER, GREY), lines.items(), strict=False):
            axes.plot(minutes, [getattr(sample, what) for sample in samples], color=colour, label=name, linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label, color=GREY)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, ncols=len(lines), loc="lower right", bbox_to_anchor=(1, 0.97), fontsize=8)
    axes.set_xlabel("minutes")
    figure.suptitle("A daemon among copies, edits, strangers, junk, renames and deletes", fontsize=10)
    save(figure, path)


def watch(office: Office, store: Store, started_s: float) -> list[Sample]:
    """Sample what the daemon takes until the day is over; keep people from dropping more than it can judge."""
    samples: list[Sample] = []
    while time.monotonic() < started_s + LASTS_S or samples[-1].files < LEAST_FILES:
        samples.append(Sample.take(office.site, store, started_s))
        office.crowded = samples[-1].waiting > MOST_WAITING
        time.sleep(SAMPLE_S)
    return samples


def settle(site: Site) -> dict[str, int]:
    """Wait until all files are judged, and for one more scan. Returns the counts by state."""
    wait_for(lambda: site.known().keys() == paths(site.share) and "waiting" not in site.known().values(), LONG_S)
    scans = site.stderr.count(" scanned ")
    wait_for(lambda: site.stderr.count(" scanned ") > scans, LONG_S)
    counts = site.settled()
    assert site.process is not None
    assert site.process.poll() is None, site.stderr
    return counts


def test_a_long_day_ends_with_all_accounted_for_and_nothing_grown(
    tmp_path: Path, bundle: Path, counting: Counting, request: pytest.FixtureRequest
) -> None:
    site = Site(tmp_path, bundle, settings={"settle_seconds": 0.2, "rescan_minutes": RESCAN_MINUTES})
    office = Office(site)
    with counting("action on files in a soak of mixed arrivals, half an hour long in full") as tally, running(site):
        with ThreadPoolExecutor(PEOPLE + 1) as pool:
            jobs = [pool.submit(work) for work in (office.administer, *(person.work for person in office.people))]
            try:
                store, started_s = open_store(site.home / "state" / "catalog.db"), time.monotonic()
                samples = watch(office, store, started_s)
            finally:
                office.closed.set()
        for job in jobs:
            job.result()
        tally.inject(office.done)
        counts = settle(site)
        samples.append(Sample.take(site, store, started_s))  # when every file was judged, however busy the machine
        store.close()
        target: Path | None = request.config.getoption("--proofs")
        if target is not None:
            draw(samples, target.with_name("soak.svg"))
        require_all_accounted_for(office, counts)
        require_flat(samples)
