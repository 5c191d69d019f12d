"""A real daemon on real folders: tests start it, follow it through its log and its catalogue, and stop it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fault_counts import PROVE

SETTLE_S = 0.3
PATIENCE_S = 60.0
_QUIET_S, _LONG_QUIET_S = SETTLE_S + 0.5, SETTLE_S + 1.3
NO_BREAKER = {"max_moves_per_minute": 1_000_000, "max_moved_percent": 100}
"""Limits that no test reaches: most tests move more files at once than the circuit breaker allows by default."""
COMMAND = (sys.executable, "-c", "from twinwatch.cli import main; main()")
_BRISK = """
import sys
import twinwatch.service.daemon
from twinwatch.cli import main
for constant, seconds in {pauses!r}.items():
    holders = [module for name, module in sys.modules.items() if name[:9] == "twinwatch" and hasattr(module, constant)]
    assert holders, constant
    for module in holders:
        setattr(module, constant, seconds)
main()
"""
_PAUSES_S = {"LOOK_S": 0.5, "RETRY_S": 1.0}
DAEMON = COMMAND if PROVE else (sys.executable, "-c", _BRISK.format(pauses=_PAUSES_S))
"""The daemon, which looks after its folders and tries again sooner than it would: `make prove` waits as admins do."""


def wait_for(what: Callable[[], Any], patience_s: float = PATIENCE_S, pause_s: float = 0.05) -> Any:
    """Call `what` again and again, with a pause between, and return its first true value. Fails after `patience_s`."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        value = what()
        if value:
            return value
        time.sleep(pause_s)
    raise AssertionError(f"waited {patience_s} s in vain")


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """Mount something within a block, with the arguments of mount(8). Skips the test where that is not permitted."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


def fill_disk(folder: Path) -> Path:
    """Fill the disk of a folder to its last byte. Returns the file that takes the space."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size_bytes in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size_bytes)):
                    pass
    return filler


@dataclass
class Site:
    """A watched share, a state folder and a configuration in one temporary folder."""

    home: Path
    bundle: Path
    action: str = "quarantine"
    settings: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = DAEMON
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.share.mkdir(parents=True, exist_ok=True)
        self.configure()

    @property
    def share(self) -> Path:
        return self.home / "share"

    @property
    def config(self) -> Path:
        return self.home / "config.yaml"

    @property
    def log_path(self) -> Path:
        return self.home / "log" / "duplicates.jsonl"

    @property
    def stderr(self) -> str:
        return (self.home / "daemon.log").read_text(errors="replace")

    def configure(self, **changes: Any) -> None:
        """Write the configuration, with these top-level keys changed."""
        content = {
            "watch": [{"path": str(self.share), "action": self.action}],
            "state_dir": str(self.home / "state"),
            "duplicates_log": str(self.log_path),
            "settle_seconds": SETTLE_S,
            "model": {"bundle": str(self.bundle), "device": "cpu"},
            **self.settings,
            **changes,
        }
        content["watch"] = [{**NO_BREAKER, **watch} for watch in content["watch"]]
        self.config.write_text(yaml.safe_dump(content), encoding="utf-8")

    def start(self, ready: bool = True) -> None:
        """Start the daemon. Returns when it has told systemd that it is ready, or at once if not `ready`."""
        address = self.home / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(address))
            channel.settimeout(PATIENCE_S)
            with (self.home / "daemon.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*self.command, "run", "--verbose", "-c", str(self.config)],
                    stderr=log,
                    env={**os.environ, "NOTIFY_SOCKET": str(address)},
                )
            while ready and b"READY=1" not in channel.recv(4096):
                pass

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send the daemon a signal and wait until it has ended. Returns how many seconds that took."""
        assert self.process is not None
        started_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        self.process = None
        return time.monotonic() - started_s

    def end(self) -> None:
        """Kill the daemon if it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `twinwatch` command with this site's configuration."""
        return twinwatch(*arguments, "-c", str(self.config))

    def settled(self) -> dict[str, int]:
        """Wait until the daemon has judged everything and has had the time to begin with more. Returns counts by state.

        For tests that prove that something does not happen. Where the catalogue does not agree with the folders, this
        waits longer: the daemon may be late, or it may leave out a file for good.
        """
        return self._wait_until_quiet(_QUIET_S)

    def judged(self) -> dict[str, int]:
        """Wait until every file in the folders has been judged, and no longer. Returns counts by state."""
        return self._wait_until_quiet(0.0)

    def _wait_until_quiet(self, quiet_s: float) -> dict[str, int]:
        from twinwatch.store import open_store

        path = self.home / "state" / "catalog.db"
        watched = [watch["path"] for watch in yaml.safe_load(self.config.read_text(encoding="utf-8"))["watch"]]
        idle_since_s = complete_since_s = time.monotonic()

        def quiet() -> bool:
            nonlocal idle_since_s, complete_since_s
            now_s = time.monotonic()
            idle = store.queue.count() == 0
            complete = idle and _complete(database, watched)
            idle_since_s = idle_since_s if idle else now_s
            complete_since_s = complete_since_s if complete else now_s
            return (complete and now_s - complete_since_s >= quiet_s) or now_s - idle_since_s > _LONG_QUIET_S

        store = open_store(path)
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            wait_for(quiet)
        counts = store.counts()
        store.close()
        return counts

    def known(self, folder: Path | None = None) -> dict[bytes, str]:
        """Return the state of each file that the catalogue knows beneath a folder, the share by default.

        Paths are relative to that folder. A file that still has to be judged has the state `waiting`.
        """
        prefix = os.fsencode(folder or self.share) + b"/"
        with contextlib.closing(sqlite3.connect(self.home / "state" / "catalog.db", timeout=30)) as database:
            rows = database.execute(
                "SELECT roots.path, folder, name, iif(queue IS NULL, state, 'waiting') FROM files "
                "JOIN roots ON roots.id = root_id WHERE state NOT IN ('gone', 'quarantined')"
            ).fetchall()
        paths = {b"/".join(filter(None, row[:3])): str(row[3]) for row in rows}
        return {path.removeprefix(prefix): state for path, state in paths.items() if path.startswith(prefix)}

    def entries(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the duplicates log, all or those of one event."""
        if not self.log_path.exists():
            return []
        found = [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]
        return [entry for entry in found if event in (None, entry["event"])]

    def event_of(self, path: Path) -> dict[str, Any]:
        """Wait for the verdict on a path and return its line of the duplicates log."""
        return wait_for(lambda: next((line for line in self.entries("duplicate") if line["path"] == str(path)), None))


def _complete(database: sqlite3.Connection, watched: list[str]) -> bool:
    """True if the catalogue lists exactly the files in the watched folders, as they are, and each verdict is logged.

    Watched folders that do not exist are left out.
    """
    (unlogged,) = database.execute(
        "SELECT count(*) FROM verdicts WHERE state IN ('pending', 'restoring') OR state != logged"
    ).fetchone()
    if unlogged:
        return False
    rows = database.execute(
        "SELECT roots.path, folder, name, files.inode, size_bytes, mtime_ns, ctime_ns FROM files "
        "JOIN roots ON roots.id = root_id WHERE state NOT IN ('gone', 'quarantined')"
    ).fetchall()
    roots = {os.fsencode(root) for root in watched if Path(root).is_dir()}
    known = {b"/".join(filter(None, row[:3])): tuple(row[3:]) for row in rows if row[0] in roots}
    return known == {path: seen for root in roots for path, seen in _regular_files(root)}


def _regular_files(root: bytes) -> Iterator[tuple[bytes, tuple[int, int, int, int]]]:
    """Yield path, inode, size, mtime and ctime of each regular file beneath a root, except those in quarantine."""
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != b".twinwatch"]
        for path in (os.path.join(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                seen = os.lstat(path)
                if stat.S_ISREG(seen.st_mode):
                    yield path, (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def terminal(columns: int, *arguments: str, raw: bool = False) -> str:
    """Run a `twinwatch` command on a terminal of this width, and return what it shows there. It must succeed.

    With `raw`, the terminal leaves line ends as the command writes them.
    """
    screen, keyboard = pty.openpty()
    if raw:
        attributes = termios.tcgetattr(keyboard)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(keyboard, termios.TCSANOW, attributes)
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen([*COMMAND, *arguments], stdout=keyboard, env={**environment, "TERM": "xterm"}) as process:
        os.close(keyboard)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux tells that nobody writes any more
            while data := os.read(screen, 65536):
                shown += data
        os.close(screen)
    assert process.returncode == 0
    return shown.decode()


def twinwatch(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a `twinwatch` command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=150, check=False, errors="replace", **options
    )
