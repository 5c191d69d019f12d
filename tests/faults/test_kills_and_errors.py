"""Kills a move, a restore and a recovery before each of their system calls, and makes those calls fail.

The short run samples the calls; TWINWATCH_PROVE=1 takes all of them.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fault_counts import PROVE, Counting
from twinwatch.fs import linux
from twinwatch.quarantine import Quarantine

DRIVER = Path(__file__).with_name("quarantine_driver.py")
ID = "0123456789abcdef0123456789abcdef"
COPY, ORIGINAL = b"the copy " * 500, b"the original " * 500
DONE, FAULT = 0, 10  # of the driver
NOUNS = {"move": "move", "restore": "restore", "recover": "recovery"}
CHANGING = {"write", "fsync", "renameat", "renameat2", "linkat", "unlinkat", "mkdirat", "flock"}
STRACE = shutil.which("strace")

pytestmark = [
    pytest.mark.skipif(STRACE is None, reason="strace is not installed"),
    pytest.mark.timeout(1800 if PROVE else 180),
]


def drive(root: Path, what: str, mode: str, inject: str | None = None) -> tuple[int, str]:
    """Run the driver under strace; return its exit status and its trace."""
    trace = root.with_suffix(".trace")
    # With an injection only that call is traced: strace counts `when=` per call name, and others would cost time.
    filters = ["-e", f"trace={inject.split(':')[0]},getppid", "-e", f"inject={inject}"] if inject else []
    driver = [sys.executable, "-P", str(DRIVER), what, mode, str(root), "sub/copy.jpg"]
    command = [str(STRACE), "-f", "-y", "-o", str(trace), *filters, *driver]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not ran.stderr or ran.returncode < 0, ran.stderr
    return ran.returncode, trace.read_text()


def calls(trace: str) -> list[tuple[str, int]]:
    """Return each system call between the driver's two marks with its count since the start of the process."""
    counts: Counter[str] = Counter()
    found, inside = [], False
    for line in trace.splitlines():
        if not (match := re.match(r"\d+\s+(\w+)\(", line)):
            continue
        name = match[1]
        counts[name] += 1
        if name == "getppid":
            inside = not inside
        elif inside:
            found.append((name, counts[name]))
    return found


def sampled(found: list[tuple[str, int]], start: int, step: int) -> list[tuple[str, int]]:
    return found if PROVE else found[start::step]


def tree(root: Path) -> dict[str, str]:
    """Return the sha256 of every file by its path; the times in records do not count."""
    shown = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = re.sub(rb'_at": "[^"]*"', b"", path.read_bytes())
            shown[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    return shown


def copies(root: Path, data: bytes) -> list[str]:
    found = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == data]
    return [str(path.relative_to(root)) for path in found]


@pytest.fixture(params=["native", "fallback"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setattr(linux, "rename_no_replace", _refuse)
    return str(request.param)


def _refuse(*_: object) -> None:
    raise OSError(22, "Invalid argument")


class Stage:
    """A root that is ready for the operation `what`, and that can be reset to that state."""

    def __init__(self, tmp_path: Path, what: str, mode: str) -> None:
        self._what, self._mode = what, mode
        self.root = tmp_path / "root"
        self._template = tmp_path / "template"
        (self.root / "sub").mkdir(parents=True)
        (self.root / "sub" / "copy.jpg").write_bytes(COPY)
        (self.root / "original.jpg").write_bytes(ORIGINAL)
        Quarantine(self.root).prepare()
        if what != "move":
            assert drive(self.root, "move", mode)[0] == DONE
        if what == "restore":
            # The folder is missing, so the restore must create it.
            (self.root / "sub").rmdir()
        if what == "recover":
            # As after a kill between the rename and the last record. The original changed, so the copy must go back.
            record = self.root / ".twinwatch/quarantine/info" / f"{ID}.json"
            record.write_text(record.read_text().replace('"quarantined"', '"intended"'))
            (self.root / "original.jpg").write_bytes(b"another original")
        shutil.copytree(self.root, self._template)

    def calls(self) -> list[tuple[str, int]]:
        for _ in range(2):  # the first run may compile a module that was just edited
            status, trace = drive(self.reset(), self._what, self._mode)
            assert status == DONE
        return calls(trace)

    def reset(self) -> Path:
        shutil.rmtree(self.root)
        shutil.copytree(self._template, self.root)
        return self.root


def check_settled(root: Path, context: object) -> None:
    """Check what holds after any fault: there is one copy, the second recovery changes nothing, and a restore works."""
    quarantine = Quarantine(root)
    first = quarantine.recover()
    assert not [settled for settled in first if settled.needs_person], (context, first)
    after = tree(root)
    assert quarantine.recover() == [], context
    assert tree(root) == after, context
    private = root / ".twinwatch/quarantine"
    assert sorted(path.name for path in private.iterdir()) == ["files", "info"], context
    assert not list((private / "info").glob("*.tmp")), context
    where = copies(root, COPY)
    assert len(where) == 1, (context, where)
    assert len(list(root.rglob("*.jpg*"))) == (2 if where == ["sub/copy.jpg"] else 1), context
    states = {record.id: record.state for record in quarantine.records()}
    if where == ["sub/copy.jpg"]:
        assert states.get(ID, "aborted") in {"aborted", "restored"}, context
        assert (root / "sub/copy.jpg").stat().st_nlink == 1, context
    else:
        assert where == [f".twinwatch/quarantine/files/{ID}"], context
        assert states[ID] == "quarantined", context
        assert quarantine.restore(ID).path == b"sub/copy.jpg", context
        assert (root / "sub/copy.jpg").read_bytes() == COPY, context


@pytest.mark.parametrize("what", ["move", "restore", "recover"])
def test_killed_before_each_system_call(tmp_path: Path, mode: str, what: str, counting: Counting) -> None:
    stage = Stage(tmp_path, what, mode)
    found = stage.calls()
    changing = sampled([call for call in found if call[0] in CHANGING], 0, 3)
    others = sampled([call for call in found if call[0] not in CHANGING], 3, 20)
    with counting(f"SIGKILL before a system call of a {NOUNS[what]}") as tally:
        for name, nth in changing + others:
            root = stage.reset()
            _, trace = drive(root, what, mode, f"{name}:signal=KILL:when={nth}")
            assert "+++ killed by SIGKILL +++" in trace, (name, nth)
            tally.inject()
            check_settled(root, (what, mode, name, nth))
    assert changing
    assert others


@pytest.mark.parametrize("lasting", ["", "+"], ids=["once", "lasting"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("what", ["move", "restore", "recover"])
def test_storage_fails_at_each_changing_call(
    tmp_path: Path, mode: str, what: str, error: str, lasting: str, counting: Counting
) -> None:
    stage = Stage(tmp_path, what, mode)
    found = [call for call in stage.calls() if call[0] in CHANGING | {"openat"}]
    # The four short runs for an operation take different calls.
    chosen = sampled(found, 2 * (error == "EIO") + bool(lasting), 16)
    with counting(f"{error} at a write, fsync, rename or open of a {NOUNS[what]}") as tally:
        for name, nth in chosen:
            root = stage.reset()
            status, trace = drive(root, what, mode, f"{name}:error={error}:when={nth}{lasting}")
            assert "(INJECTED)" in trace, (name, nth)
            tally.inject()
            # Recovery names a fault with one file as that file's outcome.
            assert status == FAULT or (what, status) == ("recover", DONE), (name, nth, status)
            check_settled(root, (what, mode, name, nth, error, lasting))
    assert chosen
