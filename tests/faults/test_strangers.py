"""Nobody is let in: names that forge lines or terminals, private folders that are not ours, links that lead out of a
share while the daemon moves, and what a decoder that was taken over could do.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import fcntl
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paint import paint
from PIL import Image

from harness import COMMAND, Site, wait_for
from tally import PROVE, Counting, scaled

# A line of its own, a colour that rich never uses, a title for the window, the same by one C1 character, right to left.
POISON = ("\n", "\r", "\x1b[5;7m", "\x1b]0;mine\x07", "\x9b5;7m", "\x85", "\u2028", "\u202e", "\u2066", "\udcff")
FORGED = "FORGED"
EVIL = f"a{FORGED.join(['', *POISON, ''])}<script>[red]"

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


def require_harmless(text: str, context: object) -> None:
    """No letter that moves, colours or turns anything, and no line that a name began."""
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
    """What the calls name: places with a forging name, and configurations that hold it in one place each."""
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


@pytest.mark.parametrize(("command", "calls"), [(COMMAND, CALLS), (TRAIN, TRAIN_CALLS)], ids=["twinwatch", "train"])
def test_an_argument_forges_nothing(
    words: dict[str, str], command: tuple[str, ...], calls: list[str], counting: Counting
) -> None:
    chosen = calls[:: 1 if PROVE else 9]
    lines = [[word.format(**words) for word in call.split()] for call in chosen]
    with counting("forging name in an argument or a configuration") as tally, ThreadPoolExecutor(2) as pool:
        for call, done in zip(chosen, pool.map(lambda line: called(line, *command), lines), strict=True):
            tally.inject()
            assert done.returncode in (0, 1, 2), (call, done)
            require_harmless(done.stdout.decode(), call)
            require_harmless(done.stderr.decode(), call)
            assert "Traceback" not in done.stderr.decode(), (call, done.stderr)


def fill(folder: Path, count: int) -> list[Path]:
    """Put pictures into a folder that nobody is to take for copies of each other."""
    paths = [folder / f"picture{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        paint(number, 240, 180).save(path, quality=90)
    return paths


REPORTS = (
    "status", "list --all", "list --unreadable", "list --format csv", "restore --all", "check", "list --format jsonl",
    "list --unreadable --format csv", "resume", "rebuild",
)  # fmt: skip


def test_what_is_reported_forges_nothing(site: Site, counting: Counting) -> None:
    share = site.share / EVIL.replace("\udcff", "")  # YAML is text
    share.mkdir()
    site.configure(watch=[{"path": str(share), "action": "quarantine"}])
    picture, *_ = fill(share, 3)
    with counting("forging name in the log, a list, a table or the daemon's own log") as tally:
        site.start()
        site.settled()
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
        shown = [called(line) for line in lines[:: 1 if PROVE else 3]]
        away = share.rename(site.home / "away")
        shown += [called(line) for line in lines[:: 1 if PROVE else 4]]
        away.rename(share)
        shown += [called(["scan", str(share), "--format", how]) for how in ("table", "jsonl", "csv")[-scaled(1, 3) :]]
        for done in shown:
            tally.inject()
            assert b"Traceback" not in done.stderr, done
            require_harmless(done.stdout.decode().replace("\r\n", "\n"), done)
            require_harmless(done.stderr.decode(), done)
        for text in (site.stderr, site.log_path.read_text()):
            tally.inject()
            require_harmless(text, "log")
        for row in csv.DictReader(io.StringIO(shown[-1].stdout.decode())):
            assert row["path"][0] == "/"
        for line in terminal("scan", str(share)):
            tally.inject()
            assert not [poison for poison in POISON if poison in line], line
            assert not line.startswith(FORGED)


def terminal(*arguments: str) -> list[str]:
    """Run a command on a terminal; return the lines that it shows there."""
    screen, keyboard = pty.openpty()
    attributes = termios.tcgetattr(keyboard)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(keyboard, termios.TCSANOW, attributes)
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 4000, 0, 0))
    with subprocess.Popen([*COMMAND, *arguments], stdout=keyboard, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(keyboard)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
            while data := os.read(screen, 65536):
                shown += data
        os.close(screen)
    return shown.decode().split("\n")


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_a_decoder_has_no_more_rights_than_it_needs(site: Site, counting: Counting) -> None:
    (picture,) = fill(site.share, 1)
    site.start()
    site.settled()
    smaller = site.share / "smaller.jpg"
    with Image.open(picture) as image:
        image.resize((200, 150)).save(smaller)
    site.entry_of(smaller)  # by evidence, which has a process of its own
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
            assert limits["Max address space"] == [str(4096 << 20)] * 2
            assert limits["Max open files"] == ["64"] * 2
            assert limits["Max file size"] == limits["Max core file size"] == ["0"] * 2
            # With these and without CAP_SYS_RESOURCE nobody can raise them again, and what is open is all there is.
            opened = {os.readlink(entry).split(":")[0] for entry in Path(f"/proc/{pid}/fd").iterdir()}
            assert not [name for name in opened if name.startswith(str(site.home / "state"))], opened
