"""A real daemon on real folders, for the system tests: started, watched through its own log and catalogue, stopped."""

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
"""The tests move more at once than an admin would bear."""
COMMAND = (sys.executable, "-c", "from twinwatch.cli import main; main()")
_BRISK = """
import sys
from twinwatch.cli import main
from twinwatch.service import daemon
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
    """Return the first true value of `what`, asked after every pause; fail when patience ends."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        value = what()
        if value:
            return value
        time.sleep(pause_s)
    raise AssertionError(f"waited {patience_s} s in vain")


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """Mount something for the length of a block, as mount(8) would; skip the test where that is refused."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


def fill_disk(folder: Path) -> Path:
    """Leave no byte free on the disk of a folder; return the file that takes the room."""
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
        """Start the daemon and return when it says that it is ready, or at once."""
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
        """End the daemon; return how many seconds that took."""
        assert self.process is not None
        started_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        self.process = None
        return time.monotonic() - started_s

    def end(self) -> None:
        """Kill the daemon if it is still there, as at the end of a test."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this site's configuration."""
        return twinwatch(*arguments, "-c", str(self.config))

    def settled(self) -> dict[str, int]:
        """Wait until the daemon has nothing left to judge, and would have begun by now if there were anything.

        Returns its counts of files by state. A file that the catalogue does not know yet, or knows otherwise than it
        is, may be one that the daemon leaves out: then the wait is longer.
        """
        return self._wait_until_quiet(_QUIET_S)

    def judged(self) -> dict[str, int]:
        """Wait until every file that is there has been judged; return the counts. It does not wait for more to come."""
        return self._wait_until_quiet(0.0)

    def _wait_until_quiet(self, quiet_s: float) -> dict[str, int]:
        from twinwatch.store import Catalog

        path = self.home / "state" / "catalog.db"
        watched = [watch["path"] for watch in yaml.safe_load(self.config.read_text(encoding="utf-8"))["watch"]]
        idle_since_s = complete_since_s = time.monotonic()

        def quiet() -> bool:
            nonlocal idle_since_s, complete_since_s
            now_s = time.monotonic()
            idle = catalog.waiting_count() == 0
            complete = idle and _complete(database, watched)
            idle_since_s = idle_since_s if idle else now_s
            complete_since_s = complete_since_s if complete else now_s
            return (complete and now_s - complete_since_s >= quiet_s) or now_s - idle_since_s > _LONG_QUIET_S

        catalog = Catalog(path)
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            wait_for(quiet)
        counts = catalog.counts()
        catalog.close()
        return counts

    def known(self, folder: Path | None = None) -> dict[bytes, str]:
        """The files that the catalogue has at a path beneath a folder, the share by default, with their states.

        Paths are relative to that folder; what still waits to be judged is `waiting`.
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
        """The lines of the duplicates log, of one event if given."""
        if not self.log_path.exists():
            return []
        found = [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]
        return [entry for entry in found if event in (None, entry["event"])]

    def event_of(self, path: Path) -> dict[str, Any]:
        """Wait for the verdict on a path and return its line."""
        return wait_for(lambda: next((line for line in self.entries("duplicate") if line["path"] == str(path)), None))


def _complete(database: sqlite3.Connection, watched: list[str]) -> bool:
    """True if the catalogue knows every file as it is, at its path, and no other, and each verdict is logged.

    Roots that are not there do not count.
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
    """The path, inode, size, mtime and ctime of each regular file beneath a root, outside of quarantine."""
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != b".twinwatch"]
        for path in (os.path.join(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                seen = os.lstat(path)
                if stat.S_ISREG(seen.st_mode):
                    yield path, (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def terminal(columns: int, *arguments: str, raw: bool = False) -> str:
    """Run a command, which must succeed, on a terminal of so many columns; return what it shows there.

    `raw`: as the command wrote it, before the terminal turned line ends into its own.
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
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=150, check=False, errors="replace", **options
    )
