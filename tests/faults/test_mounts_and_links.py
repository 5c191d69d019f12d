"""Folders that become links, names that become other things, other mounts and many writers at any moment of a move.

What happens "before a call" happens before one of the calls into the kernel that the real code makes, so that every
moment is met and none by luck.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from faults import quarantine_driver as driver
from tally import PROVE, Counting, scaled
from twinwatch import kernel
from twinwatch.errors import QuarantineError
from twinwatch.quarantine import Quarantine

COPY, ORIGINAL, STRANGE = b"the copy " * 99, b"the original " * 99, b"another's file " * 99
HOME, HELD = "a/b/copy.jpg", f".twinwatch/quarantine/files/{driver.ID}"
OPERATIONS = ("move", "restore", "recover")

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)

Act = Callable[[], object]


def carry_out(operation: Act, before: dict[int, Act]) -> int:
    """Carry out an operation with something happening before its nth call into the kernel; return how many it made.

    A refusal is an outcome, too.
    """
    calls = 0

    def look(_frame: FrameType, event: str, called: object) -> None:
        nonlocal calls
        # renameat2 is called through ctypes, right after this.
        name = getattr(called, "__name__", "")
        if event == "c_call" and (getattr(called, "__module__", "") in ("posix", "fcntl") or name == "set_errno"):
            before.get(calls, int)()
            calls += 1

    sys.setprofile(look)
    try:
        with contextlib.suppress(QuarantineError):
            operation()
    finally:
        sys.setprofile(None)
    return calls


class Stage:
    """A root in which an operation comes next, and a folder outside that looks like it."""

    def __init__(self, home: Path, what: str) -> None:
        shutil.rmtree(home, ignore_errors=True)
        self.root, self.outside, self._what = home / "root", home / "outside", what
        for folder in (self.root / "a/b", self.outside / "b"):
            folder.mkdir(parents=True)
        (self.root / HOME).write_bytes(COPY)
        (self.root / "original.jpg").write_bytes(ORIGINAL)
        self.quarantine = Quarantine(self.root)
        self.quarantine.prepare()
        order = driver.order_for(self.root, HOME)
        self._original_fd = os.open(self.root / "original.jpg", os.O_RDONLY)
        if what != "move":
            self.quarantine.move(order, self._original_fd)
            (self.root / "a/b/beside.jpg").write_bytes(STRANGE)
        if what == "recover":  # as after a kill between the rename and the last record, and now its original is another
            record = self.root / ".twinwatch/quarantine/info" / f"{driver.ID}.json"
            record.write_text(record.read_text().replace('"quarantined"', '"intended"'))
            (self.root / "original.jpg").write_bytes(STRANGE)
        shutil.copytree(self.root / ".twinwatch", self.outside / "private")
        for folder in (self.outside, self.outside / "b"):
            if what == "move":
                (folder / "copy.jpg").write_bytes(COPY)
        self._seen = _tree(self.outside)
        self.operation: Act = {
            "move": lambda: self.quarantine.move(order, self._original_fd),
            "restore": lambda: self.quarantine.restore(driver.ID),
            "recover": self.quarantine.recover,
        }[what]

    def close(self) -> None:
        os.close(self._original_fd)

    def check(self, context: object) -> None:
        """After two recoveries the copy is there once, with its record, and outside nothing was touched."""
        settled = Quarantine(self.root).recover()
        assert not [each for each in settled if each.needs_person], (context, settled)
        assert Quarantine(self.root).recover() == [], context
        assert _tree(self.outside) == self._seen, context
        inodes = {path.stat().st_ino for path in self.root.rglob("*") if _holds(path, COPY)}
        assert len(inodes) == 1, context
        states = [record.state for record in self.quarantine.records()]
        if (self.root / HELD).exists():
            assert states == ["quarantined"], context
            assert (self.root / HELD).stat().st_nlink == 1, context
        else:
            assert set(states) <= {"aborted", "restored"}, (context, states)


def _tree(folder: Path) -> list[tuple[Path, int, int]]:
    return [(path, path.lstat().st_ino, path.lstat().st_ctime_ns) for path in sorted(folder.rglob("*"))]


def _holds(path: Path, data: bytes) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == data


@pytest.fixture(params=["native", "fallback"], autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that can rename without replacing, and as if on one that cannot."""
    if request.param == "fallback" and "real" not in request.node.name:
        monkeypatch.setattr(kernel, "rename_no_replace", driver.refuse)


@pytest.mark.parametrize("part", ["a", "a/b", ".twinwatch"])
@pytest.mark.parametrize("what", OPERATIONS)
def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path: Path, what: str, part: str, counting: Counting) -> None:
    random_ = random.Random(f"{what} {part}")
    stage = Stage(tmp_path / "stage", what)
    calls = carry_out(stage.operation, {})
    stage.close()
    with counting("folder above a file replaced by a link in a move, a restore or a recovery") as tally:
        for _ in range(scaled(4, 112)):
            stage = Stage(tmp_path / "stage", what)
            place, aside = stage.root / part, stage.root / "aside"
            target = stage.outside / {"a": "", "a/b": "b", ".twinwatch": "private"}[part]

            def swap(place: Path = place, aside: Path = aside, target: Path = target) -> None:
                place.rename(aside)
                place.symlink_to(target)

            def swap_back(place: Path = place, aside: Path = aside) -> None:
                place.unlink()
                aside.rename(place)

            first = random_.randrange(calls)
            last = random_.randrange(first + 1, calls + 20)  # or not while it lasts
            made = carry_out(stage.operation, {first: swap, last: swap_back})
            tally.inject()
            if made <= last:
                swap_back()
            stage.check((what, part, first, last))
            stage.close()


def _socket(path: Path) -> None:
    """Bind where the path is too long for an address."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


KINDS: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(STRANGE),
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to(path.parents[2] / "outside/b/copy.jpg"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "fifo": os.mkfifo,
    "socket": _socket,
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["copy", "original", *OPERATIONS[1:]])
def test_what_takes_a_name_meanwhile_survives(tmp_path: Path, what: str, kind: str, counting: Counting) -> None:
    """The copy or the original of a move is replaced, or the name that a restored file had is taken."""
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    operation = "move" if what in ("copy", "original") else what
    stage = Stage(tmp_path / "stage", operation)
    calls = carry_out(stage.operation, {})
    stage.close()
    with counting("file, folder, link, FIFO, socket or device that takes a name in a move or a restore") as tally:
        for number in random.Random(f"{what} {kind}").sample(range(calls), min(calls, scaled(1, 1000))):
            stage = Stage(tmp_path / "stage", operation)
            place = stage.root / ("original.jpg" if what == "original" else HOME)
            made: list[os.stat_result] = []

            def take(place: Path = place, made: list[os.stat_result] = made) -> None:
                if os.path.lexists(place) and operation == "move":
                    place.rename(place.with_name("kept.jpg"))
                if not os.path.lexists(place):
                    KINDS[kind](place)
                    made.append(place.lstat())

            carry_out(stage.operation, {number: take})
            tally.inject()
            stage.check((what, kind, number))
            for status in made:
                found = [path for path in stage.root.rglob("*") if os.path.samestat(path.lstat(), status)]
                assert len(found) == 1, (what, kind, number, found)
                assert ".twinwatch" not in found[0].parts
                assert found[0].name == place.name or found[0].name == "copy.restored-1.jpg", found
                assert kind != "file" or found[0].read_bytes() == STRANGE
            stage.close()


@pytest.mark.parametrize("name", [HOME, "original.jpg"])
def test_a_hard_link_made_meanwhile_keeps_the_file(tmp_path: Path, name: str, counting: Counting) -> None:
    stage = Stage(tmp_path / "stage", "move")
    calls = carry_out(stage.operation, {})
    stage.close()
    with counting("hard link to a copy or an original while it is moved") as tally:
        for number in random.Random(name).sample(range(calls), min(calls, scaled(4, 1000))):
            stage = Stage(tmp_path / "stage", "move")
            linked = stage.root / "linked"

            def link(root: Path = stage.root, linked: Path = linked) -> None:
                with contextlib.suppress(FileNotFoundError):  # moved by now
                    os.link(root / name, linked)

            carry_out(stage.operation, {number: link})
            tally.inject()
            stage.check((name, number))
            if linked.exists() and name == HOME:
                assert linked.samefile(stage.root / HOME), number
            stage.close()
