"""The root monitor: its cookies harm nobody in a share, and one folder's trouble is that folder's alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon_site import wait_for
from twinwatch.config import Settings, Watch
from twinwatch.errors import StorageError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.judging import WatchedRoots
from twinwatch.store import QueueState, open_store
from twinwatch.watching import ChangeQueue, EventWatcher, RootMonitor, RootStatus, attach, monitor


@dataclass
class Running:
    """A monitor of real folders, in its thread."""

    monitor: RootMonitor
    watcher: EventWatcher
    attached: WatchedRoots
    store_path: Path
    changes: ChangeQueue
    shares: list[Path]

    def status(self, number: int = 0) -> RootStatus:
        return self.monitor.statuses[self.shares[number]]

    def rounds(self, count: int = 2) -> None:
        """Wait until the monitor has begun this many rounds."""
        for _ in range(count):
            before_s = self.monitor.heartbeat.last_s
            wait_for(lambda before_s=before_s: self.monitor.heartbeat.last_s > before_s, 10)

    def gone(self) -> list[bytes]:
        """Return what judging has to forget."""
        store = open_store(self.store_path)
        paths = [file.path for file in store.queue.gone(10)]
        store.close()
        return paths


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(monitor, "LOOK_S", 0.05)
    shares = [tmp_path / "one", tmp_path / "two"]
    for share in shares:
        share.mkdir()
        (share / "a.jpg").write_bytes(b"a picture")
    settings = Settings(watch=tuple(Watch(path=share, action="quarantine") for share in shares))
    changes = ChangeQueue()
    watcher = EventWatcher(changes)
    attached = WatchedRoots()
    store_path = tmp_path / "catalog.db"
    open_store(store_path).close()
    made = RootMonitor(settings, store_path, changes, watcher, attached, threading.Event())
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        assert made.ready.wait(20)
        yield Running(made, watcher, attached, store_path, changes, shares)
        assert thread.is_alive()
    finally:
        made.stop()
        thread.join(20)
        watcher.stop()
    assert not thread.is_alive()


def test_what_a_scan_finds_gone_is_left_in_the_queue_for_judging(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinwatch.watching.root_status._PAUSE_S", 0.0)
    path = running.shares[0] / "a.jpg"
    root = running.status().root
    assert root is not None
    store = open_store(running.store_path)
    store.queue.add(root.id, b"a.jpg", FileIdentity.of(path.lstat()), False, 1, QueueState.WAITING)
    store.commit()
    store.close()
    path.unlink()
    running.changes.scans.add(running.shares)
    wait_for(lambda: running.gone() == [b"a.jpg"], 10)


def test_judging_knows_a_root_while_it_is_online(running: Running) -> None:
    root = running.status(0).root
    assert root is not None
    assert root.id in running.attached.ids()
    running.shares[0].rename(running.shares[0].with_suffix(".away"))
    wait_for(lambda: running.status(0).offline_reason, 10)
    wait_for(lambda: root.id not in running.attached.ids(), 10)
    assert len(running.attached.ids()) == 1
    running.shares[0].with_suffix(".away").rename(running.shares[0])
    wait_for(lambda: root.id in running.attached.ids(), 10)


def test_cookies_come_round_and_leave_nothing(running: Running) -> None:
    before_s = running.watcher.cookies_s[running.shares[0]]
    wait_for(lambda: running.watcher.cookies_s[running.shares[0]] > before_s, 10)
    assert running.monitor.alive()
    assert [path.name for path in (running.shares[0] / ".twinwatch").iterdir() if "cookie" in path.name] == []


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_user_lays_in_a_cookies_place_stays_as_it_is(
    running: Running, tmp_path: Path, kind: str, whole: bool
) -> None:
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"precious")
    private = running.shares[0] / ".twinwatch"
    if whole:  # whoever may write to the share may put another private folder in the place of ours
        private.rename(running.shares[0] / "old")
        private.mkdir(0o700)
    place = private / "cookie"
    make = {
        "link": lambda: place.symlink_to(precious),
        "hard link": lambda: os.link(precious, place),
        "fifo": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }
    make[kind]()
    before = FileIdentity.of(os.lstat(place))
    running.rounds()
    assert precious.read_bytes() == b"precious"
    assert FileIdentity.of(os.lstat(place)) == before
    assert running.monitor.alive()


def test_a_private_folder_that_is_a_link_is_not_entered(running: Running, tmp_path: Path) -> None:
    (running.shares[0] / ".twinwatch").rename(tmp_path / "old")
    (tmp_path / "elsewhere").mkdir(0o700)
    (running.shares[0] / ".twinwatch").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat()
    running.rounds()
    assert "is a link" in running.status().problems.probe_error
    assert (tmp_path / "elsewhere").stat() == before


def test_where_no_cookie_can_be_laid_it_is_said_once_and_nobody_is_ended_for_it(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    (running.shares[0] / ".twinwatch").rename(running.shares[0] / "old")
    wait_for(lambda: running.status().problems.probe_error, 10)
    running.rounds(6)
    assert running.shares[0] not in running.watcher.cookies_s  # which would grow old, and the daemon with it
    assert running.monitor.alive()
    assert running.status().problems.probe_error in running.status().problems.texts()
    (running.shares[0] / "old").rename(running.shares[0] / ".twinwatch")
    wait_for(lambda: not running.status().problems.probe_error, 10)
    assert running.shares[0] in running.watcher.cookies_s
    assert sum("no cookie can be laid" in line for line in capsys.readouterr().out.splitlines()) == 1


def test_the_trouble_of_one_folder_does_not_keep_the_others_waiting(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = attach.reconcile

    def failing(*arguments: object) -> None:
        if arguments[1] == running.shares[0]:
            raise StorageError("its disk is failing")
        real(*arguments)

    monkeypatch.setattr(attach, "reconcile", failing)
    for share in running.shares:
        share.rename(share.with_suffix(".away"))
    wait_for(lambda: all(status.offline_reason for status in running.monitor.statuses.values()), 10)
    for share in running.shares:
        share.with_suffix(".away").rename(share)
    wait_for(lambda: running.status(1).root, 10)
    wait_for(lambda: running.status(0).problems.last_error, 10)
    # What failed is not taken for done: the folder stays out until it could be taken on whole.
    assert running.status(0).root is None
    assert running.shares[0] not in running.monitor.online.paths()
    assert running.status(0).problems.last_error == "its disk is failing"
    monkeypatch.setattr(attach, "reconcile", real)
    wait_for(lambda: running.status(0).root, 10)
    wait_for(lambda: not running.status(0).problems.last_error, 10)
    assert set(running.monitor.online.paths()) == set(running.shares)


@pytest.mark.parametrize(
    ("facts", "moves"),
    [({"action": "quarantine"}, True), ({"action": "flag"}, False), ({"action": "quarantine", "protect": True}, False)],
)
def test_only_where_the_admin_says_so_may_files_be_moved(tmp_path: Path, facts: dict[str, Any], moves: bool) -> None:
    share = tmp_path / "share"
    share.mkdir()
    store = open_store(tmp_path / "catalog.db")
    root = store.roots.add(share, folder_id(share), 1)
    quarantine, flag_only_reason = attach.open_quarantine(Watch.model_validate({"path": share, **facts}), root, store)
    store.close()
    assert (quarantine is not None) is moves
    assert flag_only_reason == ""
    assert (share / ".twinwatch").exists() is moves
