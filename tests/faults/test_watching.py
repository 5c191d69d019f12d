"""A real daemon misses no file and believes no false deletion: lost events, odd writers, odd names, roots that go away.

Most files are tiny and of one colour, so that only equal bytes make copies and decoding is cheap.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon_site import COMMAND, DAEMON, Site, mounted, wait_for
from fault_counts import PROVE, Counting, scaled
from faults.fixtures import held, held_bytes, paths, plain, running, tree, write

QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")
SETTLE_S = 0.1
LONG_S, PAUSE_S = (1500.0, 2.0) if PROVE else (60.0, 0.05)

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


def site_of(home: Path, bundle: Path, roots: list[Path] | None = None, **settings: object) -> Site:
    """A site that watches every name in these roots, the share by default, with copies going to quarantine."""
    watch = [{"path": str(root), "action": "quarantine", "include": ["*"]} for root in roots or [home / "share"]]
    return Site(home, bundle, settings={"watch": watch, "settle_seconds": SETTLE_S, **settings})


@contextlib.contextmanager
def short_queue() -> Iterator[None]:
    """Lower the kernel's limit of queued events within a block, where that is permitted."""
    before = QUEUED_EVENTS.read_text()
    if os.access(QUEUED_EVENTS, os.W_OK):
        QUEUED_EVENTS.write_text("1024")
    try:
        yield
    finally:
        if os.access(QUEUED_EVENTS, os.W_OK):
            QUEUED_EVENTS.write_text(before)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Site]:
    """One daemon for the tests that need nothing but a folder of their own in a share."""
    made = site_of(tmp_path_factory.mktemp("site"), bundle)
    with short_queue():
        made.start()
    yield made
    assert made.process is not None
    assert made.process.poll() is None, made.stderr
    made.end()


@pytest.fixture
def folder(site: Site, request: pytest.FixtureRequest) -> Path:
    path = site.share / str(request.node.originalname)
    path.mkdir(exist_ok=True)
    return path


class KeptPictures:
    """Different pictures that the daemon has judged and kept."""

    def __init__(self, site: Site, folder: Path, count: int, first: int) -> None:
        self.data = [plain(first + number) for number in range(count)]
        for number, data in enumerate(self.data):
            write(folder / "originals" / f"{number}.bmp", data)
        wait_for(lambda: list(site.known(folder / "originals").values()) == ["kept"] * count)

    def all_there(self, folder: Path) -> bool:
        return sorted(tree(folder / "originals").values()) == sorted(self.data)


def wait_until_judged(site: Site, folder: Path) -> None:
    """Wait until the catalogue lists exactly the files beneath a folder, and all of them are judged."""

    def judged() -> bool:
        known = site.known(folder)
        return not {"waiting", "new"}.intersection(known.values()) and known.keys() == paths(folder)

    wait_for(judged, LONG_S, PAUSE_S)


# How a file can come into the folder: each writes the data of a copy at the path, with no event but what that gives.


def _write_in_parts(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        for offset in range(0, len(data), 20):
            file.write(data[offset : offset + 20])


def _rename_in(path: Path, data: bytes) -> None:
    outside = path.parents[2] / path.name
    outside.write_bytes(data)
    outside.rename(path)


def _link_in(path: Path, data: bytes) -> None:
    outside = path.parents[2] / path.name
    outside.write_bytes(data)
    path.hardlink_to(outside)


def _move_a_folder_in(path: Path, data: bytes) -> None:
    outside = path.parents[2] / f"{path.name}.folder"
    write(outside / "deep" / path.name, data)
    outside.rename(path)


def _link_a_nameless_file(path: Path, data: bytes) -> None:
    folder_fd = os.open(path.parent, os.O_RDONLY)
    fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(fd, data)
    # Only with a descriptor does Python call linkat, which can follow this link.
    os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=folder_fd, follow_symlinks=True)
    os.close(fd)
    os.close(folder_fd)


def _write_through_a_mapping(path: Path, data: bytes) -> None:
    with path.open("w+b") as file:
        file.truncate(len(data))
        mapping = mmap.mmap(file.fileno(), len(data))
    mapping[:] = data
    mapping.close()


def _replace_another(path: Path, data: bytes) -> None:
    path.write_bytes(b"a draft")
    _rename_in(path, data)


def _with_a_time_to_come(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (path.stat().st_mtime + 10 * 365.25 * 86400,) * 2)


def _with_a_time_long_ago(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (path.stat().st_mtime - 10 * 365.25 * 86400,) * 2)


ARRIVALS: dict[Callable[[Path, bytes], None], str] = {
    _write_in_parts: "quarantined",
    _rename_in: "quarantined",
    _link_in: "flagged",  # moving it would free nothing
    _move_a_folder_in: "quarantined",
    _link_a_nameless_file: "quarantined",
    _write_through_a_mapping: "quarantined",
    _replace_another: "quarantined",
    _with_a_time_to_come: "quarantined",
    _with_a_time_long_ago: "quarantined",
}


def test_however_a_copy_comes_it_is_found(site: Site, folder: Path, counting: Counting) -> None:
    rounds = scaled(2, 100)
    originals = KeptPictures(site, folder, rounds, 0x100000)
    wanted = {}
    with counting("copy that is renamed, linked, mapped, moved in with its folder, or 10 years off") as tally:
        for arrive, action in ARRIVALS.items():
            for number, data in enumerate(originals.data):
                path = folder / f"{arrive.__name__}{number}.bmp"
                arrive(path, data)
                wanted[path / "deep" / path.name if arrive is _move_a_folder_in else path] = action
                tally.inject()
        wait_for(lambda: len(_verdicts(site, folder)) >= len(wanted), LONG_S)
        assert _verdicts(site, folder) == {str(path): [action] for path, action in wanted.items()}
        assert {path for path, action in wanted.items() if path.exists()} == {
            path for path, action in wanted.items() if action == "flagged"
        }
        assert originals.all_there(folder)


def _verdicts(site: Site, folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in site.entries("duplicate"):
        if entry["path"].startswith(f"{folder}/"):
            found.setdefault(entry["path"], []).append(entry["action"])
    return found


class _Writer:
    """Holds a file open or mapped that looks like a whole copy, and writes other bytes later."""

    def __init__(self, path: Path, half: bytes, kind: str) -> None:
        self.path, self._kind = path, kind
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        if kind == "sparse":
            os.posix_fallocate(self._fd, 0, len(half))
        elif kind == "mapped":
            os.ftruncate(self._fd, len(half))
            self._mapping = mmap.mmap(self._fd, len(half))
            self._mapping[:] = half
            os.close(self._fd)
        else:
            os.write(self._fd, half)

    def go_on(self, whole: bytes) -> None:
        if self._kind == "mapped":
            self._mapping[:] = whole
            self._mapping.close()
        else:
            os.pwrite(self._fd, whole, 0)
            os.close(self._fd)


def test_a_writer_that_pauses_is_not_taken_for_done(site: Site, folder: Path, counting: Counting) -> None:
    """For longer than `settle_seconds` each file holds a copy, or nothing; in the end a copy of another, or news."""
    originals = KeptPictures(site, folder, 2, 0x200000)
    copied, other = originals.data
    with counting("writer that pauses halfway for longer than settle_seconds, then goes on") as tally:
        writers: dict[_Writer, bytes] = {}
        for number in range(scaled(6, 240)):
            kind, end = ("open", "mapped", "sparse")[number % 3], other if number % 2 else plain(0x300000 + number)
            writers[_Writer(folder / f"{kind} {number}.bmp", copied, kind)] = end
        for writer in writers:
            wait_for(lambda path=writer.path: _was_looked_at(site, folder, path), LONG_S)
            assert writer.path.exists()
        for writer, end in writers.items():
            writer.go_on(end)
            tally.inject()
        copies = {str(writer.path): ["quarantined"] for writer, end in writers.items() if end == other}
        wait_for(lambda: len(_verdicts(site, folder)) >= len(copies), LONG_S)
        wait_until_judged(site, folder)
        assert _verdicts(site, folder) == copies
        stayed = {writer.path: writer.path.read_bytes() for writer in writers if str(writer.path) not in copies}
        assert stayed == {writer.path: end for writer, end in writers.items() if end != other}
        moved = [record for record in held(site.share) if str(site.share / os.fsdecode(record.path)) in copies]
        assert [held_bytes(site.share, record) for record in moved] == [other] * len(copies)
        assert originals.all_there(folder)


def _was_looked_at(site: Site, folder: Path, path: Path) -> bool:
    unfinished = site.known(folder).get(os.fsencode(path.name)) == "unreadable"
    return unfinished or any(
        f"path='{path}'" in line for line in site.stderr.splitlines() if "judged again later" in line
    )


SHIFTED = """
import time
now_ns = time.time_ns
time.time_ns = lambda: now_ns() + {years} * 31_556_952 * 10**9
from twinwatch.cli import main
main()
"""


@pytest.mark.parametrize("years", [-10, 10] if PROVE else [-10])
def test_a_clock_that_is_wrong_moves_nothing_that_was_there_first(
    tmp_path: Path, bundle: Path, years: int, counting: Counting
) -> None:
    """Times of files and the daemon's clock lie 10 years apart, as after a start without a battery or a time server."""
    site = site_of(tmp_path, bundle)
    site.command = (COMMAND[0], "-c", SHIFTED.format(years=years))
    pairs = [plain(number) for number in range(scaled(3, 300))]
    with counting("file 10 years before or after the daemon's clock") as tally:
        for number, data in enumerate(pairs):
            write(site.share / f"first {number}.bmp", data)
            write(site.share / f"second {number}.bmp", data)
            tally.inject(2)
        before = tree(site.share)
        with running(site):
            wait_for(lambda: len(site.entries("duplicate")) == len(pairs), LONG_S)
            assert {entry["action"] for entry in site.entries()} == {"flagged"}
            for number, data in enumerate(pairs):
                write(site.share / f"late {number}.bmp", data)
                tally.inject()
            wait_for(lambda: len(site.entries("duplicate")) == 2 * len(pairs), LONG_S)
        assert before.items() <= tree(site.share).items()
        assert {Path(entry["path"]).name[:5] for entry in site.entries()[len(pairs) :]} == {"late "}


NAMES = [
    b"\n", b"a\nb.jpg", b"\x1b[2J\x1b[31m.jpg", b"\r\x08\x7f", b"\xff\xfe.jpg", b"\xed\xa0\x80", b"caf\xe9.jpg",
    b"...", b"..a", b"-rf", b" ", b" .jpg ", b"*", b"?[a]", b"%s%n", b"~", b"$(reboot)", b'"', b"\\", b"\\x0a",
    b"\xf0\x9f\x90\xb1" * 63, b"\xff" * 255, b"\n" * 255, b"a" * 251 + b".jpg", b"." + b"x" * 254, b"a." + b"y" * 253,
]  # fmt: skip


def test_a_name_may_be_any_bytes(site: Site, folder: Path, counting: Counting) -> None:
    """Every copy goes to quarantine, and comes back to its very name with its very bytes."""
    random_ = random.Random(11)
    one_byte = [bytes([byte]) for byte in range(1, 256) if byte not in b"./"]
    letters = [*one_byte, b"."]
    drawn = [b"".join(random_.choices(letters, k=random_.randint(2, 255))) for _ in range(scaled(4, 1000))]
    names = {*one_byte[:: scaled(8, 1)], *NAMES, *drawn} - {b".."}
    (data,) = KeptPictures(site, folder, 1, 0x400000).data
    place = folder / "names"
    place.mkdir()
    before = len(held(site.share))
    with counting("copy under a name of odd bytes, quarantined and put back") as tally:
        for name in names:
            with open(os.fsencode(place) + b"/" + name, "wb") as file:  # noqa: PTH123  pathlib takes no bytes
                file.write(data)
            tally.inject()
        wait_for(lambda: len(held(site.share)) == before + len(names) and not tree(place), LONG_S)
        prefix = os.fsencode(place.relative_to(site.share)) + b"/"
        ids = [record.id for record in held(site.share) if record.path.startswith(prefix)]
        wait_for(lambda: {entry["id"] for entry in site.entries("duplicate")} >= set(ids))
        restored = site.run("restore", *ids)
        assert restored.returncode == 0, restored.stderr
        assert tree(place) == dict.fromkeys(names, data)
        wait_for(lambda: site.known(place) == dict.fromkeys(names, "restored"), LONG_S)


def _flood(site: Site, folder: Path, copied: bytes) -> Iterator[bytes]:
    """More files than the kernel queues events for, written while the daemon is stopped."""
    assert site.process is not None
    site.process.send_signal(signal.SIGSTOP)
    try:
        for number in range(scaled(1500, 50_000)):
            path = folder / f"flood{number % 10}" / f"{number}.jpg"
            data = copied if number % 50 == 0 else b"no picture %d" % number
            write(path, data)
            yield data
    finally:
        site.process.send_signal(signal.SIGCONT)


def _burst(site: Site, folder: Path, copied: bytes) -> Iterator[bytes]:
    """Nested folders that are made, filled and renamed at once, while a writer is at work beneath them."""
    for number in range(scaled(40, 3000)):
        top = folder / f"new{number}"
        deep = top / "a" / "b"
        write(deep / "copy.jpg", copied)
        writing = threading.Thread(target=_fill, args=(os.open(deep, os.O_RDONLY), number))
        writing.start()
        (top / "a").rename(top / "c")
        top.rename(folder / f"renamed{number}")
        write(folder / f"renamed{number}" / "late.jpg", b"late %d" % number)
        writing.join()
        yield copied
        yield from (b"%d %d" % (number, part) for part in range(5))
        yield b"late %d" % number


def _fill(folder_fd: int, number: int) -> None:
    for part in range(5):
        fd = os.open(f"{part}.jpg", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder_fd)
        os.write(fd, b"%d %d" % (number, part))
        os.close(fd)
    os.close(folder_fd)


LOSSES = {
    _flood: "file that comes while events overflow the kernel's queue",
    _burst: "file in a folder renamed at once",
}


@pytest.mark.parametrize("losing", LOSSES)
def test_what_events_do_not_tell_the_scan_finds(
    site: Site,
    folder: Path,
    losing: Callable[[Site, Path, bytes], Iterator[bytes]],
    counting: Counting,
) -> None:
    """Each file ends up judged at its last path; every copy among them is in quarantine."""
    place = folder / losing.__name__
    (copied,) = KeptPictures(site, place, 1, 0x500000 + list(LOSSES).index(losing)).data
    before = len(held(site.share))
    with counting(LOSSES[losing]) as tally:
        written = []
        for data in losing(site, place, copied):
            written.append(data)
            tally.inject()
        copies = written.count(copied)
        wait_for(lambda: len(held(site.share)) == before + copies, LONG_S, PAUSE_S)
        wait_until_judged(site, place)
        assert sorted(tree(place).values()) == sorted([copied, *(data for data in written if data != copied)])


class Away:
    """A root that can be taken away in some way, and brought back."""

    def __init__(self, home: Path, kind: str) -> None:
        self.root, self._kind = home / kind, kind
        self._elsewhere = home / f"{kind}.elsewhere"
        self.root.mkdir()
        self._elsewhere.mkdir()
        if kind == "unmounted":
            _mount("-t", "tmpfs", "none", self._elsewhere)
            _mount("--bind", self._elsewhere, self.root)
        write(self.root / "original.bmp", plain(len(kind)))
        write(self.root / "deep" / "other.bmp", plain(100 + len(kind)))

    def take(self) -> None:
        match self._kind:
            case "renamed" | "deleted":
                # A folder that is open stays a folder of its own; the next one made here could else be taken for it.
                self._fd = os.open(self.root, os.O_RDONLY)
                self._elsewhere.rmdir()
                self.root.rename(self._elsewhere)
                if self._kind == "deleted":
                    shutil.rmtree(self._elsewhere)
            case "unmounted":
                _unmount(self.root)
            case "covered":
                _mount("-t", "tmpfs", "none", self.root)

    def bring_back(self) -> None:
        match self._kind:
            case "renamed":
                self._elsewhere.rename(self.root)
                self._elsewhere.mkdir()
                os.close(self._fd)
            case "deleted":
                self.root.mkdir()
                self._elsewhere.mkdir()
            case "unmounted":
                _mount("--bind", self._elsewhere, self.root)
            case "covered":
                _unmount(self.root)

    def clear(self) -> None:
        if self._kind in ("unmounted", "covered"):
            for place in (self.root, self._elsewhere):
                subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


class Bell:
    """Wakes the daemon's root monitor, by renaming a folder. Otherwise it looks at its roots every few seconds."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "0"
        self._folder.mkdir(parents=True)

    def ring(self) -> None:
        self._folder = self._folder.rename(self._folder.with_name(str(int(self._folder.name) + 1)))


@pytest.mark.parametrize("kinds", [("deleted", "renamed"), ("covered", "unmounted")], ids=" and ".join)
def test_a_root_that_goes_is_away_and_nothing_in_it_is_gone(
    tmp_path: Path, bundle: Path, kinds: tuple[str, ...], counting: Counting
) -> None:
    """Nothing is written where the root should be, nor by a daemon that starts then; work resumes."""
    if "unmounted" in kinds:
        with mounted("-t", "tmpfs", "none", str(tmp_path)):  # or skipped
            pass
    bell = Bell(tmp_path / "bell")
    with contextlib.ExitStack() as stack:
        aways = [Away(tmp_path, kind) for kind in kinds]
        for away in aways:
            stack.callback(away.clear)
        site = site_of(tmp_path, bundle, [tmp_path / "bell", *(away.root for away in aways)], rescan_minutes=0.001)
        stack.enter_context(running(site))
        with counting(f"root {' or '.join(kinds)}") as tally:
            for number, away in enumerate(aways * scaled(1, 40)):
                # In turn they are away while the daemon runs, or when it starts.
                restart = number % len(aways) != number // len(aways) % 2
                _take_and_bring_back(site, bell, away, 0x600000 + number, restart)
                tally.inject()


def _take_and_bring_back(site: Site, bell: Bell, away: Away, colour: int, restart: bool) -> None:
    def told(words: str) -> int:
        return sum(words in line and str(away.root) in line for line in site.stderr.splitlines())

    def rung(condition: Callable[[], bool]) -> bool:
        bell.ring()
        return condition()

    before: dict[bytes, str] = {}

    def at_rest() -> bool:
        before.clear()
        before.update(site.known(away.root))
        return "waiting" not in before.values() and len(before) >= 2

    wait_for(lambda: rung(at_rest))
    gone, back = told("folder is away"), told("folder is back")
    if restart:
        site.stop(signal.SIGKILL)
    away.take()
    if restart:
        site.start()
    wait_for(lambda: rung(lambda: told("folder is away") > gone))
    wait_for(lambda: rung(lambda: site.known(away.root) == before))
    assert not away.root.exists() or not list(away.root.iterdir()), "something was written where the root is missing"
    away.bring_back()
    newcomer, copy = away.root / f"{colour}.bmp", away.root / "copy.bmp"
    write(newcomer, plain(colour))
    wait_for(lambda: rung(lambda: told("folder is back") > back))
    wait_for(lambda: rung(lambda: site.known(away.root).get(os.fsencode(newcomer.name)) == "kept"))
    assert before.items() <= site.known(away.root).items()
    write(copy, plain(colour))
    wait_for(lambda: plain(colour) in [held_bytes(away.root, record) for record in held(away.root)])
    assert not copy.exists()


LIMITED = (
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 20 >/proc/sys/user/max_inotify_watches; exec "$@"',
    "",
)


def test_more_folders_than_watches_are_told_and_scanned(tmp_path: Path, bundle: Path, counting: Counting) -> None:
    """The daemon runs in a user namespace with a limit of its own, so that no other process is affected."""
    tried = subprocess.run(
        [*LIMITED, "cat", "/proc/sys/user/max_inotify_watches"], capture_output=True, text=True, check=False
    )
    if tried.stdout != "20\n":
        pytest.skip("a user namespace with a limit of its own cannot be had here")
    site = site_of(tmp_path, bundle, rescan_minutes=0.001)
    site.command = (*LIMITED, *DAEMON)
    bell = Bell(site.share / "bell")
    folders = [site.share / "folder" / str(number) for number in range(scaled(40, 4000))]
    for number, folder in enumerate(folders):
        write(folder / "before.jpg", b"before %d" % number)
    with running(site), counting("folder that the kernel's limit leaves unwatched") as tally:
        wait_for(lambda: "sysctl -w fs.inotify.max_user_watches=" in site.stderr)
        for number, folder in enumerate(folders):
            write(folder / "after.jpg", b"after %d" % number)
        bell.ring()
        wait_until_judged(site, site.share)
        assert len(site.known()) == 2 * len(folders)
        # The daemon leaves its status now and then, not at once.
        wait_for(lambda: "sysctl -w fs.inotify.max_user_watches=" in site.run("status").stdout)
        tally.inject(len(folders) - 20)
