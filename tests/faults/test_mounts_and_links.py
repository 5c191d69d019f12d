"""Moves while users interfere: folders that become links, names that are taken, other mounts, many writers.

The interference comes before each system call of the real code in turn, so that every moment is tested.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from paint import paint
from PIL import Image, ImageOps

from daemon_site import Site, mounted, wait_for
from fault_counts import PROVE, Counting, scaled
from faults import quarantine_driver as driver
from twinwatch.errors import QuarantineError
from twinwatch.fs import linux
from twinwatch.quarantine import Quarantine
from twinwatch.store import open_store

COPY, ORIGINAL, STRANGE = b"the copy " * 99, b"the original " * 99, b"another's file " * 99
HOME, HELD = "a/b/copy.jpg", f".twinwatch/quarantine/files/{driver.ID}"
OPERATIONS = ("move", "restore", "recover")

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)

Act = Callable[[], object]


def carry_out(operation: Act, before: dict[int, Act]) -> int:
    """Run an operation, with interference before its nth system call. Returns how many calls it made.

    An operation that is refused counts as done.
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
    """A root that is ready for an operation, and a folder outside it that looks the same."""

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
        """Assert that after two recoveries the copy is there once, with its record, and nothing outside changed."""
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


@pytest.fixture(params=["native", "fallback"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the real file system, and as if on one that cannot rename without replacing."""
    if request.param == "fallback":
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)


@pytest.mark.usefixtures("mode")
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


@pytest.mark.usefixtures("mode")
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


@pytest.mark.usefixtures("mode")
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


def picture(number: int) -> Image.Image:
    return paint(number, 240, 180)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None or os.geteuid() != 0, reason="strace as root")


@contextlib.contextmanager
def slow_moves(pid: int, trace: Path, delay_s: float) -> Iterator[None]:
    """Delay every second renameat2, so that a user can interfere first. The others are moves back."""
    inject = f"inject=renameat2:delay_enter={int(delay_s * 1e6)}:when=1+2"
    command = ["strace", "-f", "-p", str(pid), "-o", str(trace), "-e", "trace=renameat2", "-e", inject]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        if b"attached" not in first:
            tracer.kill()
            pytest.skip(first.decode())
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.stderr.read()


def _delete(keeper: Path, aside: Path) -> None:
    keeper.unlink()


def _link(keeper: Path, aside: Path) -> None:
    keeper.rename(aside)
    keeper.symlink_to(aside)


def _truncate(keeper: Path, aside: Path) -> None:
    os.truncate(keeper, 100)


def _change(keeper: Path, aside: Path) -> None:
    with keeper.open("r+b") as file:
        file.write(STRANGE)


@needs_strace
def test_a_real_daemon_moves_nothing_whose_keeper_is_lost_at_the_last_moment(site: Site, counting: Counting) -> None:
    acts = ([_delete, _truncate, _link, _change] * 5)[: scaled(2, 20)]
    for number in range(len(acts)):
        picture(number).save(site.share / f"keeper{number}.jpg", quality=90)
    site.start()
    wait_for(lambda: site.judged().get("kept") == len(acts))
    assert site.process is not None
    info = site.share / ".twinwatch/quarantine/info"
    with (
        counting("keeper deleted, changed, truncated or replaced by a link just before a real daemon moves") as tally,
        slow_moves(site.process.pid, site.home / "trace", 1.5),
    ):
        for number, act in enumerate(acts):
            keeper, copy = site.share / f"keeper{number}.jpg", site.share / f"copy{number}.jpg"
            shutil.copyfile(keeper, copy)
            data, inode = copy.read_bytes(), keeper.stat().st_ino
            intended = f'"path": "{copy.name}"'

            def records(intended: str = intended) -> list[str]:
                texts = [path.read_text() for path in info.glob("*.json")]
                return [text for text in texts if intended in text and '"intended"' in text]

            wait_for(records)
            user = threading.Thread(target=act, args=(keeper, site.home / f"aside{number}.jpg"))
            user.start()
            if act in (_truncate, _change):  # they wait for the lease, and have a right to find the file in its place
                breaking = re.compile(rf"LEASE\s+BREAKING .*:{inode} ")
                wait_for(lambda breaking=breaking: breaking.search(Path("/proc/locks").read_text()))
            else:
                user.join()
            assert records(), "the machine was too slow for this to be the last moment"
            tally.inject()
            wait_for(lambda copy=copy: f"{copy.name} why=" in site.stderr or f"{copy.name}' why=" in site.stderr)
            user.join()
            assert copy.read_bytes() == data
    assert not list((site.share / ".twinwatch/quarantine/files").iterdir())
    assert site.stderr.count("not moved, judged again later") >= len(acts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_real_daemon_only_flags_what_lies_on_another_mount(site: Site, counting: Counting) -> None:
    outside, bound, memory = site.home / "outside", site.share / "bound", site.share / "memory"
    for folder in (outside, bound, memory):
        folder.mkdir()
    count = scaled(2, 20)
    with mounted("--bind", str(outside), str(bound)), mounted("-t", "tmpfs", "none", str(memory)):
        for number in range(count):
            picture(number).save(site.share / f"keeper{number}.jpg", quality=90)
        site.start()
        wait_for(lambda: site.judged().get("kept") == count)
        copies = [folder / f"copy{number}.jpg" for folder in (bound, memory) for number in range(count)]
        for number, copy in enumerate(copies):
            shutil.copyfile(site.share / f"keeper{number % count}.jpg", copy)
        with counting("copy on a bind mount or a tmpfs beneath a root") as tally:
            for copy in copies:
                assert site.event_of(copy)["action"] == "flagged"
                assert copy.exists()
                tally.inject()
        assert site.stderr.count("lies on another mount than the quarantine of its root") >= len(copies)
        assert not list((site.share / ".twinwatch/quarantine/files").iterdir())
        site.stop()


WRITER = "import shutil, sys; input(); [shutil.copyfile(*line.split()) for line in sys.stdin.read().splitlines()]"
WRITERS = 8


def test_of_what_many_real_writers_drop_one_of_each_group_lives(site: Site, counting: Counting) -> None:
    """Pairs of the same bytes, and chains: A, a mirrored A, and that again in another size."""
    made = site.home / "made"
    made.mkdir()
    groups: list[list[Path]] = []
    for number in range(scaled(8, 400)):
        first, second, third = (made / f"{number}-{letter}.jpg" for letter in "abc")
        picture(number).save(first, quality=92)
        if number % 2:
            ImageOps.mirror(picture(number)).save(second, quality=85)
            with Image.open(second) as image:
                image.resize((200, 150)).save(third, quality=80)
            groups.append([first, second, third])
        else:
            shutil.copyfile(first, second)
            groups.append([first, second])
    dropped = [path for group in groups for path in group]
    site.start()
    command = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(WRITERS)]
    with counting("group of copies dropped at once by 8 writers into a real daemon's folder") as tally:
        for number, writer in enumerate(writers):
            assert writer.stdin is not None
            lines = [f"{path} {site.share / path.name}" for path in dropped[number::WRITERS]]
            writer.stdin.write("\n" + "\n".join(lines))
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        assert [writer.wait(60) for writer in writers] == [0] * WRITERS
        tally.inject(len(groups))
        store = open_store(site.home / "state" / "catalog.db")
        outcomes = ("kept", "duplicate", "quarantined")
        wait_for(lambda: sum(store.counts().get(name, 0) for name in outcomes) == len(dropped), 900)
        store.close()
        site.settled()
        living = {path.name for path in site.share.glob("*.jpg")}
        held = [Path(entry["path"]).name for entry in site.entries("duplicate") if entry["action"] == "quarantined"]
        for group in groups:
            there = [path.name for path in group if path.name in living]
            assert there, group
            assert len(group) != 2 or len(there) == 1, group
        assert sorted([*living, *held]) == sorted(path.name for path in dropped)
        files = [*site.share.glob("*.jpg"), *(site.share / ".twinwatch/quarantine/files").iterdir()]
        assert Counter(_sha256(path) for path in files) == Counter(_sha256(path) for path in dropped)
        for entry in site.entries("duplicate"):
            assert Path(entry["path"]).name.split("-")[0] == Path(entry["duplicate_of"]).name.split("-")[0], entry


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
