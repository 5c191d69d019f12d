"""Users who can write to a share gain nothing by it.

Tried are names that forge output, private folders that a user made first, links that lead out of the share during a
move, and the rights of a decoder process that was taken over.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import ctypes
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paint import paint
from PIL import Image, ImageOps

from daemon_site import COMMAND, Site, terminal, wait_for
from fault_counts import PROVE, Counting, Tally, scaled
from twinwatch.fs import linux
from twinwatch.store import open_store

# A line of its own, a colour that rich never uses, a title for the window, the same by one C1 character, right to left.
POISON = ("\n", "\r", "\x1b[5;7m", "\x1b]0;mine\x07", "\x9b5;7m", "\x85", "\u2028", "\u202e", "\u2066", "\udcff")
FORGED = "FORGED"
EVIL = f"a{FORGED.join(['', *POISON, ''])}<script>[red]"

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


def require_harmless(text: str, context: object) -> None:
    """Assert that a text has no control character but line ends, and no line that was forged by a name."""
    assert not {letter for letter in text if not letter.isprintable()} - {"\n"}, (context, text)
    assert not [line for line in text.splitlines() if line.lstrip(" │").startswith(FORGED)], (context, text)


def called(arguments: list[str], *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*(command or COMMAND), *arguments], capture_output=True, timeout=150, check=False)


CALLS = [
    "scan {evil}", "run -c {evil}", "{evil}", "list -c {evil}", "dismiss {evil} -c {good}", "--{evil}",
    "restore {evil} -c {good}", "restore --since {evil} -c {good}", "resume {evil} -c {good}", "status -c {evil}",
    "check -c {evil}", "rebuild -c {evil}", "list --format {evil}", "list {evil} -c {good}", "check --{evil}",
    "scan {share} --out {evil}/x", "scan {share} --out {dir}", "scan {share} --bundle {evil}", "scan {dir} {dir}",
    "scan {share} --device {evil}", "scan {share} --state {evil_file}", "scan {evil_file}", "calibrate {evil}",
    "calibrate {dir}", "calibrate {share} --out {evil}/x", "calibrate {share} --out {dir}",
    "calibrate {share} --bundle {evil}", "calibrate {share} --sample {evil}", "check -c {dir}", "check -c {not_yaml}",
    "check -c {key}", "check -c {watch}", "run -c {watch}", "check -c {bundle}", "run -c {bundle}", "check -c {state}",
    "run -c {state}", "run -c {log}", "check -c {log}", "check -c {value}",
]  # fmt: skip
TRAIN_CALLS = [
    "fit {evil} --out {evil}", "{evil} --out {dir}", "fit {share} --work {evil} --preset {evil}", "export --out {evil}",
    "evaluate {dir}", "evaluate {evil} --bundle {evil}", "evaluate {dir} --json {evil}/x", "cluster --work {evil}",
    "report --out {evil} --device {evil}", "calibrate --{evil}",
]  # fmt: skip
TRAIN = (sys.executable, "-c", "from twinwatch_training.cli import main; main()")


@pytest.fixture
def words(site: Site, tmp_path: Path) -> dict[str, str]:
    """The arguments of the calls: places with a forging name, and configurations with it in one key each."""
    paint(0).save(site.share / "picture.jpg")
    folder = tmp_path / EVIL
    folder.mkdir()
    (folder / f"{EVIL}.jpg").write_text("no picture")
    (folder / "not.yaml").write_text(f"{EVIL.encode(errors='replace').decode()}: [", encoding="utf-8")
    found = {"evil": EVIL, "good": str(site.config), "share": str(site.share), "dir": str(folder)}
    found |= {"evil_file": str(folder / f"{EVIL}.jpg"), "not_yaml": str(folder / "not.yaml")}
    evil = EVIL.replace("\udcff", "")  # YAML is text
    for name, changes in {
        "key": {evil: 1},
        "watch": {"watch": [{"path": f"/{evil}"}]},
        "bundle": {"model": {"bundle": evil}},
        "state": {"state_dir": f"/proc/{evil}"},
        "log": {"duplicates_log": f"/proc/{evil}/x"},
        "value": {"settle_seconds": evil, "watch": [{"path": evil, "action": evil}]},
    }.items():
        site.configure(**changes)
        found[name] = str(site.config.rename(folder / f"{name}{evil}.yaml"))
    site.configure()
    return found


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        pytest.param(COMMAND, CALLS, id="twinwatch"),
        pytest.param(
            TRAIN,
            TRAIN_CALLS,
            id="train",
            marks=pytest.mark.skipif(not PROVE, reason="each imports torch, and the group of commands is the same"),
        ),
    ],
)
def test_an_argument_forges_nothing(
    words: dict[str, str], command: tuple[str, ...], calls: list[str], counting: Counting
) -> None:
    chosen = calls[:: 1 if PROVE else 10]
    lines = [[word.format(**words) for word in call.split()] for call in chosen]
    with counting("forging name in an argument or a configuration") as tally, ThreadPoolExecutor(2) as pool:
        for call, done in zip(chosen, pool.map(lambda line: called(line, *command), lines), strict=True):
            tally.inject()
            assert done.returncode in (0, 1, 2), (call, done)
            require_harmless(done.stdout.decode(), call)
            require_harmless(done.stderr.decode(), call)
            assert "Traceback" not in done.stderr.decode(), (call, done.stderr)


def fill(folder: Path, count: int) -> list[Path]:
    """Write different pictures into a folder."""
    paths = [folder / f"picture{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        paint(number, 240, 180).save(path, quality=90)
    return paths


REPORTS = (
    "list --format csv", "list --all", "list --unreadable", "status", "restore --all", "check", "list --format jsonl",
    "list --unreadable --format csv", "resume", "rebuild",
)  # fmt: skip


def test_what_is_reported_forges_nothing(site: Site, counting: Counting) -> None:
    share = site.share / EVIL.replace("\udcff", "")  # YAML is text
    share.mkdir()
    site.configure(watch=[{"path": str(share), "action": "quarantine"}])
    picture, *_ = fill(share, 3)
    with counting("forging name in the log, a list, a table or the daemon's own log") as tally:
        site.start()
        site.judged()
        (share / f"{EVIL}text.jpg").write_text("no picture")
        os.mkfifo(share / f"{EVIL}fifo.jpg")
        (share / EVIL).mkdir()
        names = [f"{EVIL}/{EVIL}.jpg", f"={EVIL}.jpg", f"{EVIL}linked.jpg"]
        for name in names:
            shutil.copy(picture, share / name)
        os.link(share / names[2], site.home / "other name")
        wait_for(lambda: len(site.entries("duplicate")) == len(names))
        for entry in site.entries("duplicate"):
            base64.b64decode(entry["path_b64"]).index(os.fsencode(EVIL))
        (share / names[2]).unlink()
        quarantined = share / ".twinwatch/quarantine/files"
        taken = next(quarantined.iterdir()).rename(site.home / "taken by hand")
        site.stop()
        site.start()
        wait_for(lambda: "taken out of quarantine by hand" in site.stderr)
        assert taken.exists()
        site.stop()
        lines = [f"{line} -c {site.config}".split() for line in REPORTS]
        shown = [called(line) for line in lines[:: 1 if PROVE else 5]]
        away = share.rename(site.home / "away")
        shown += [called(line) for line in lines[:: 1 if PROVE else 9]]
        away.rename(share)
        shown += [called(["scan", str(share), "--format", how]) for how in ("table", "jsonl", "csv")[: scaled(0, 3)]]
        for done in shown:
            tally.inject()
            assert b"Traceback" not in done.stderr, done
            require_harmless(done.stdout.decode().replace("\r\n", "\n"), done)
            require_harmless(done.stderr.decode(), done)
        for text in (site.stderr, site.log_path.read_text()):
            tally.inject()
            require_harmless(text, "log")
        rows = [
            row for done in shown if "csv" in done.args for row in csv.DictReader(io.StringIO(done.stdout.decode()))
        ]
        assert rows
        assert all(row["path"][0] == "/" for row in rows), rows
        for line in terminal(4000, "scan", str(share), raw=True).split("\n"):
            tally.inject()
            assert not [poison for poison in POISON if poison in line], line
            assert not line.startswith(FORGED)


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def never_made(share: Path, aside: Path, kind: str) -> None:
    """Make at the private folder's path what a user may have made there before the daemon."""
    private = share / ".twinwatch"
    if kind == "link":
        private.symlink_to(aside)
    elif kind == "file":
        private.write_text("mine")
    elif kind == "link within":
        (private / "quarantine").mkdir(parents=True, mode=0o700)
        (private / "quarantine" / "files").symlink_to(aside)
    else:
        (private / "quarantine/files").mkdir(parents=True)
        within = private / "quarantine" if kind == "another user's, within" else private
        within.chmod(0o777)
        os.chown(within, 1234, 1234)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_private_folder_that_a_user_made_first_is_no_quarantine(site: Site, counting: Counting) -> None:
    kinds = ("link", "file", "link within", "another user's", "another user's, within", "open to all")
    shares = {kind: site.share / kind for kind in kinds}
    asides = {kind: site.home / f"outside {kind}" for kind in kinds}
    for kind in kinds:
        shares[kind].mkdir()
        asides[kind].mkdir()
        if kind != "open to all":
            never_made(shares[kind], asides[kind], kind)
    (shares["open to all"] / ".twinwatch/quarantine/files").mkdir(parents=True)
    (shares["open to all"] / ".twinwatch").chmod(0o777)  # and ours: that is mended
    watch = [{"path": str(share), "action": "quarantine"} for share in shares.values()]
    site.configure(watch=watch)
    pictures = dict(zip(kinds, fill(site.home, len(kinds)), strict=True))
    for kind, share in shares.items():
        pictures[kind] = pictures[kind].rename(share / "picture.jpg")
    with counting("private folder that a user made first") as tally:
        site.start()
        site.judged()
        for kind, share in shares.items():
            shutil.copy(pictures[kind], share / "copy.jpg")
        for kind, share in shares.items():
            tally.inject()
            mended = kind == "open to all"
            assert site.event_of(share / "copy.jpg")["action"] == ("quarantined" if mended else "flagged"), kind
            assert (share / "copy.jpg").exists() is not mended
            assert not list(asides[kind].iterdir())
        private = shares["open to all"] / ".twinwatch"
        assert {path.stat().st_mode & 0o077 for path in (private, *private.rglob("*"))} - {0o044, 0} == set()
        for path in (private, private / "quarantine", private / "quarantine/info", private / "quarantine/files"):
            assert path.stat().st_mode & 0o777 == 0o700
    status = site.run("status").stdout
    assert status.count("remove it") >= 3 and status.count("belongs to uid 1234") == 2, status


def exchange(one: Path, two: Path) -> None:
    """Exchange two files or folders in one step: renameat2(2) with RENAME_EXCHANGE."""
    names = os.fsencode(one), os.fsencode(two)
    assert ctypes.CDLL(None, use_errno=True).renameat2(-100, names[0], -100, names[1], 2) == 0, ctypes.get_errno()


@contextlib.contextmanager
def swapping(pairs: list[tuple[Path, Path]], seed: int) -> Iterator[Tally]:
    """Exchange random pairs and change them back, again and again within a block. Counts the exchanges."""
    swaps, stop, random_ = Tally("exchange"), threading.Event(), random.Random(seed)

    def swap() -> None:
        while not stop.is_set():
            pair = random_.choice(pairs)
            for pause_s in (0.002, 0.02):
                exchange(*pair)
                swaps.inject()
                time.sleep(random_.random() * pause_s)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield swaps
    finally:
        stop.set()
        thread.join()


def test_links_that_lead_out_of_a_share_lead_nowhere(site: Site, counting: Counting) -> None:
    """A user who can write to the share exchanges every part of a path for a link to what only the daemon can read."""
    batches, size, exchanges = 2, scaled(3, 40), scaled(100, 5000)
    secret, links, inner = site.home / "secret", site.home / "links", site.share / "outer" / "inner"
    for folder in (secret / "inner", secret / "quarantine/info", secret / "quarantine/files", links, inner):
        folder.mkdir(parents=True, mode=0o700)
    secret.chmod(0o700)
    (secret / "quarantine").chmod(0o700)
    originals = fill(site.share, 3)
    names = [f"copy{number}.jpg" for number in range(batches * size)]
    for number, name in enumerate(names):  # what would be called a copy if it were ever looked at
        ImageOps.mirror(paint(number % 3, 240, 180)).save(secret / "inner" / name, quality=50 + number % 40)
    before = {path: (path.lstat(), path.is_file() and path.read_bytes()) for path in sorted(secret.rglob("*"))}
    hashes = [hashlib.sha256(data).hexdigest() for _, data in before.values() if data]
    pairs = [(inner.parent, links / "outer"), (inner, links / "inner"), (inner / names[0], links / "file")]
    for (_, link), target in zip(pairs, (secret, secret / "inner", secret / "inner" / names[0]), strict=True):
        link.symlink_to(target)
    (links / "private").symlink_to(secret)
    site.configure(rescan_minutes=0.02)
    site.start()
    site.judged()
    with linux.closing(os.open(inner, os.O_RDONLY)) as inner_fd:
        for batch, dropped in enumerate((names[:size], names[size:])):
            for number, name in enumerate(dropped):
                with linux.closing(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=inner_fd)) as fd:
                    os.write(fd, originals[number % 3].read_bytes())
            chosen = [(site.share / ".twinwatch", links / "private")] if batch else pairs
            with counting("exchange of a folder or file for a link out of the share") as tally:
                with swapping(chosen, batch) as swaps:
                    wait_for(lambda least=exchanges, swaps=swaps: swaps.injected >= least, 600)
                tally.inject(swaps.injected)
                wait_for(lambda wanted=(batch + 1) * size: len(site.entries("duplicate")) >= wanted)
    site.settled()
    site.stop()
    store = open_store(site.home / "state" / "catalog.db")
    assert not [known for each in hashes if (known := store.contents.by_sha256(each))]
    store.close()
    told = site.log_path.read_text() + site.stderr
    assert not [each for each in hashes if each in told]
    assert sorted(secret.rglob("*")) == list(before)
    for path, (status, data) in before.items():
        assert (path.lstat().st_ino, path.lstat().st_ctime_ns) == (status.st_ino, status.st_ctime_ns), path
        assert not data or path.read_bytes() == data
    held = list((site.share / ".twinwatch/quarantine/files").iterdir())
    assert len(held) >= size // 2
    assert len(held) + len(list(inner.iterdir())) == len(names)
    assert {path.read_bytes() for path in (*held, *inner.iterdir())} == {path.read_bytes() for path in originals}


def test_a_decoder_has_no_more_rights_than_it_needs(site: Site, counting: Counting) -> None:
    (picture,) = fill(site.share, 1)
    site.start()
    site.judged()
    smaller = site.share / "smaller.jpg"
    with Image.open(picture) as image:
        image.resize((200, 150)).save(smaller)
    site.event_of(smaller)  # by evidence, which has a process of its own
    assert site.process is not None
    with counting("real decoder process looked at from outside") as tally:
        decoders = [
            pid for pid in children(site.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(decoders) >= 2
        for pid in decoders:
            tally.inject()
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            limits = {
                line[:26].strip(): line[26:].split()[:2]
                for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
            }
            assert status["NoNewPrivs"] == "1"
            only_reading = 1 << 2  # CAP_DAC_READ_SEARCH
            for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", *["CapBnd"] * (os.geteuid() == 0)):
                assert int(status[name], 16) & ~only_reading == 0, name
            for limit in limits["Max address space"]:  # what decoding may take, above what the libraries hold
                assert 4096 << 20 < int(limit) < 6144 << 20
            assert limits["Max open files"] == ["64"] * 2
            assert limits["Max file size"] == limits["Max core file size"] == ["0"] * 2
            # With these and without CAP_SYS_RESOURCE nobody can raise them again, and what is open is all there is.
            opened = {os.readlink(entry).split(":")[0] for entry in Path(f"/proc/{pid}/fd").iterdir()}
            assert not [name for name in opened if name.startswith(str(site.home / "state"))], opened
