"""Nobody is let in: names that forge lines or terminals, private folders that are not ours, links that lead out of a
share while the daemon moves, and what a decoder that was taken over could do.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import ctypes
import fcntl
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from harness import COMMAND, Site, twinwatch, wait_for
from tally import PROVE, Counting, scaled
from twinwatch.catalog import Catalog

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
    chosen = calls[:: 1 if PROVE else 5]
    lines = [[word.format(**words) for word in call.split()] for call in chosen]
    with counting("forging name in an argument or a configuration") as tally, ThreadPoolExecutor(2) as pool:
        for call, done in zip(chosen, pool.map(lambda line: called(line, *command), lines), strict=True):
            tally.inject()
            assert done.returncode in (0, 1, 2), (call, done)
            require_harmless(done.stdout.decode(), call)
            require_harmless(done.stderr.decode(), call)
            assert "Traceback" not in done.stderr.decode(), (call, done.stderr)
