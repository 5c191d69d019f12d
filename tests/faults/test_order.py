"""The order in which a move, a restore, a recovery and a preparation reach the disk, read from their system calls.

What a power cut leaves behind depends on this order. The record is on disk before the picture is renamed, and both
folders are on disk before the move returns. The line of a verdict is on disk before the catalogue notes it as written.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fault_counts import Counting
from faults.test_kills_and_errors import CHANGING, DONE, ID, STRACE, Stage, drive
from twinwatch.reporting import DuplicatesLog

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")

PRIVATE = ".twinwatch/quarantine"
INFO, FILES, HELD = f"{PRIVATE}/info", f"{PRIVATE}/files", f"{PRIVATE}/files/{ID}"
LOCK = "flock .twinwatch/lock"
RECORD = [
    f"write {INFO}/{ID}.tmp",
    f"fsync {INFO}/{ID}.tmp",
    f"renameat {INFO}/{ID}.tmp {INFO}/{ID}.json",
    f"fsync {INFO}",
]
RENAME = {"native": "renameat2", "fallback": "renameat"}
OUT = {
    "native": [f"renameat2 {HELD} sub/copy.jpg"],
    "fallback": [f"linkat {HELD} sub/copy.jpg", "fsync sub", f"unlinkat {HELD}"],
}
BOTH_FOLDERS = [f"fsync {FILES}", "fsync sub"]


def steps(root: Path, what: str, mode: str) -> list[str]:
    """Return the calls that change something on disk, with the paths they name. Calls of the probes are left out."""
    status, trace = drive(root, what, mode)
    assert status == DONE
    operation = trace.split("getppid()")[1]
    found = []
    for line in operation.splitlines():
        match = re.match(r"\d+\s+(\w+)\((.*)", line)
        if match and match[1] in CHANGING and "probe-" not in line:
            named = re.findall(r'<([^>]+)>(?:, "([^"]*)")?', match[2].partition(" = ")[0])
            data = match[1] == "write"
            paths = [str((Path(folder) / ("" if data else name)).relative_to(root)) for folder, name in named]
            found.append(" ".join([match[1], *paths]))
    return found


@pytest.fixture(params=["native", "fallback"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def expected(what: str, mode: str) -> list[str]:
    home = [*OUT[mode], *reversed(BOTH_FOLDERS)]
    return {
        "move": [LOCK, "fsync sub/copy.jpg", "fsync original.jpg", *RECORD,
                 f"{RENAME[mode]} sub/copy.jpg {HELD}", *BOTH_FOLDERS, *RECORD],
        "restore": [LOCK, "mkdirat sub", "fsync .", *RECORD, *home, *RECORD],
        "recover": [LOCK, *RECORD, *home, *RECORD],
        "prepare": ["mkdirat .twinwatch", "fsync .", f"mkdirat {PRIVATE}", "fsync .twinwatch",
                    f"mkdirat {INFO}", f"fsync {PRIVATE}", f"mkdirat {FILES}", f"fsync {PRIVATE}", LOCK],
    }[what]  # fmt: skip


@pytest.mark.parametrize("what", ["move", "restore", "recover", "prepare"])
def test_each_step_is_on_disk_before_the_next(tmp_path: Path, mode: str, what: str, counting: Counting) -> None:
    stage = Stage(tmp_path, "move" if what == "prepare" else what, mode)
    root = stage.reset()
    if what == "prepare":
        shutil.rmtree(root / ".twinwatch")
    with counting("operations whose every step must be on disk before the next") as tally:
        tally.inject()
        assert steps(root, what, mode) == expected(what, mode)


def test_a_line_of_the_log_is_on_disk_before_it_is_noted(tmp_path: Path, counting: Counting) -> None:
    path, trace = tmp_path / "duplicates.jsonl", tmp_path / "trace"
    program = (
        "from pathlib import Path; from twinwatch.reporting import DuplicatesLog; "
        f"DuplicatesLog(Path({str(path)!r})).append({{}})"
    )
    with counting("operations whose every step must be on disk before the next") as tally:
        tally.inject()
        command = [str(STRACE), "-y", "-e", "trace=write,fsync", "-o", str(trace), sys.executable, "-P", "-c", program]
        subprocess.run(command, check=True, timeout=60)
        about = [line.partition("(")[0] for line in trace.read_text().splitlines() if str(path) in line]
        assert about == ["write", "fsync"]


def test_a_log_that_no_disk_holds_is_written_all_the_same() -> None:
    log = DuplicatesLog(Path("/dev/null"))
    log.append({"id": "0"})
    log.close()
