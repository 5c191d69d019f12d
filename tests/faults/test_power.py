"""Power cuts while files are moved and restored: what the disk held at that moment is mounted and recovered.

The disk is a file behind a loop device. The file system on it has a cache of its own, so the file holds only what was
submitted to the disk, in that order; what nobody synced is lost with the cache. A cut is a copy of the file at one
moment: a reflink, which the kernel takes while no write to the file is under way. Where the file system beneath has no
reflinks, the driver is stopped and the file is read until two readings are equal. Both are what a disk without a cache
would have held, and a write that was under way is either there or not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from daemon_site import mounted
from fault_counts import PROVE, Counting, scaled
from faults import power_driver as driver
from twinwatch.quarantine import Quarantine

DRIVER = Path(driver.__file__)
KINDS = {  # file system: megabytes that it needs, how it is made, how a copy of it is mounted
    "ext4": (16, ("mkfs.ext4", "-q", "-F"), "loop"),
    "xfs": (300, ("mkfs.xfs", "-q", "-f"), "loop,nouuid"),
    "btrfs": (128, ("mkfs.btrfs", "-q", "-f"), "loop"),
}
HOST_MB, CHUNK_BYTES = 20_000, 1 << 20
STRIDE = 7  # steps from cut to cut: with ten in a round, each of them is met

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts"),
    pytest.mark.timeout(1800 if PROVE else 180),
]


@dataclass(frozen=True)
class Cut:
    """A disk as it was when `before` steps were acknowledged. The steps up to `after` may have been done as well."""

    disk: Path
    before: int
    after: int


def make_disk(folder: Path, kind: str, megabytes: int) -> Path:
    _, make, _ = KINDS[kind]
    if shutil.which(make[0]) is None:
        pytest.skip(f"{make[0]} is not installed")
    disk = folder / f"{kind}.disk"
    with disk.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run([*make, str(disk)], check=True, capture_output=True)
    return disk


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for disks, in memory for speed: it does not matter what the disk file itself lies on."""
    memory = tmp_path / "memory"
    memory.mkdir()
    with mounted("-t", "tmpfs", "none", str(memory)):
        if shutil.which("mkfs.xfs") is None:
            yield memory
            return
        disk = make_disk(memory, "xfs", HOST_MB)
        (memory / "host").mkdir()
        with mounted("-o", "loop", str(disk), str(memory / "host")):
            yield memory / "host"


class Disk:
    """A file system on which the driver works, and whose power can be cut any number of times."""

    def __init__(self, host: Path, kind: str, sync: str) -> None:
        self.kind = kind
        self.place = host / "mounted"
        self._host = host
        self._disk = make_disk(host, kind, KINDS[kind][0])
        self._cuts = 0
        self._allowed = self._acknowledged = 0
        self.place.mkdir(exist_ok=True)
        with mounted("-o", "loop", str(self._disk), str(self.place)):
            for name in ("sub0", "sub1", "sub2"):
                (self.place / name).mkdir()
            (self.place / "original.jpg").write_bytes(driver.ORIGINAL)
            Quarantine(self.place).prepare()
            os.sync()
        self._sync = sync

    def cuts(self, count: int, random_: random.Random) -> list[Cut]:
        """Cut the power `count` times: right after an acknowledged step and at any moment in the next ones, in turn."""
        command = [sys.executable, str(DRIVER), str(self.place), self._sync]
        with (
            mounted("-o", "loop", str(self._disk), str(self.place)),
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process,
        ):
            try:
                return [self._cut(process, number, random_) for number in range(count)]
            finally:
                process.kill()

    def _cut(self, process: subprocess.Popen[bytes], number: int, random_: random.Random) -> Cut:
        target = self._host / f"cut{number}"
        before = self._let(process, STRIDE)
        if number % 2:
            self._allow(process, STRIDE)
            time.sleep(random_.random() * 0.03)
        self._copy(process, target)
        return Cut(target, before, self._let(process, 0))

    def _allow(self, process: subprocess.Popen[bytes], steps: int) -> None:
        assert process.stdin is not None
        process.stdin.write(b"\n" * steps)
        self._allowed += steps

    def _let(self, process: subprocess.Popen[bytes], steps: int) -> int:
        """Let the driver take `steps` more steps, wait for them, and return how many it has acknowledged in all."""
        assert process.stdout is not None
        self._allow(process, steps)
        while self._acknowledged < self._allowed:
            lines = process.stdout.read(self._allowed - self._acknowledged)
            assert lines, "the driver has ended"
            self._acknowledged += len(lines)
        return self._acknowledged

    def _copy(self, process: subprocess.Popen[bytes], target: Path) -> None:
        reflink = ["cp", "--reflink=always", str(self._disk), str(target)]
        if subprocess.run(reflink, capture_output=True, check=False).returncode == 0:
            return
        process.send_signal(signal.SIGSTOP)
        before, now = None, self._read()
        while now != before:
            before, now = now, self._read()
        process.send_signal(signal.SIGCONT)
        with target.open("wb") as file:
            for offset, chunk in now:
                file.seek(offset)
                file.write(chunk)
            file.truncate(self._disk.stat().st_size)

    def _read(self) -> list[tuple[int, bytes]]:
        with self._disk.open("rb") as file:
            chunks = list(iter(lambda: file.read(CHUNK_BYTES), b""))
        return [(number * CHUNK_BYTES, chunk) for number, chunk in enumerate(chunks) if chunk.strip(b"\0")]


def violations(cut: Cut, root: Path) -> list[str]:
    """Recover what the disk held, and return every broken promise."""
    quarantine = Quarantine(root)
    found = [f"recovery: {settled}" for settled in quarantine.recover() if settled.needs_person]
    found += [f"a second recovery: {settled}" for settled in quarantine.recover()]
    records = {record.path: record for record in quarantine.records() if record.state == "quarantined"}
    files = [path for path in root.rglob("*.jpg") if path.is_file()]
    held = list((root / ".twinwatch/quarantine/files").iterdir())
    contents = [path.read_bytes() for path in (*files, *held)]
    if (root / "original.jpg").read_bytes() != driver.ORIGINAL:
        found.append("the original is not what it was")
    under_way = set(islice(driver.steps(), cut.before, cut.after))
    done = list(islice(driver.steps(), cut.before))
    for number in sorted({number for _, number in done}):
        path, content = driver.path_of(number), driver.content_of(number)
        state = next(step for step, each in reversed(done) if each == number)
        may_be = {state} | {step for step, each in under_way if each == number}
        record, kept = records.get(path.encode()), root / ".twinwatch/quarantine/files" / driver.id_of(number)
        if kept in held:
            is_right = "move" in may_be and record is not None and kept.read_bytes() == content
        else:
            is_right = may_be != {"move"} and record is None and (root / path).is_file()
            is_right = is_right and (root / path).read_bytes() == content
        if not is_right:
            found.append(f"{path}: after {may_be} {'' if kept in held else 'not '}in quarantine, record {record}")
        if contents.count(content) != 1:
            found.append(f"{path}: its bytes are there {contents.count(content)} times")
    return found


def broken(disk: Disk, cuts: list[Cut]) -> dict[int, list[str]]:
    """Return the broken promises by the number of the cut."""
    shown = {}
    for number, cut in enumerate(cuts):
        with mounted("-o", KINDS[disk.kind][2], str(cut.disk), str(disk.place)):
            shown[number] = violations(cut, disk.place)
        cut.disk.unlink()
    return {number: found for number, found in shown.items() if found}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_outlasts_a_power_cut(host: Path, kind: str, counting: Counting) -> None:
    disk = Disk(host, kind, "durable")
    with counting(f"power cut on {kind} while files are moved and restored") as tally:
        cuts = disk.cuts(scaled(6, 100), random.Random(3))
        tally.inject(len(cuts))
        assert broken(disk, cuts) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarantine_that_syncs_nothing_is_found_out(host: Path, kind: str) -> None:
    disk = Disk(host, kind, "lazy")
    cuts = disk.cuts(scaled(2, 20), random.Random(5))
    # The first is after three moves that no later sync of the user's has brought to the disk.
    found = broken(disk, cuts)
    assert 0 in found
