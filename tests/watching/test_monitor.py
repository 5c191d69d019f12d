"""The patrol: what it lays in a share harms nobody there, and one folder's trouble is that folder's alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from daemon_site import wait_for
from twinwatch.config import Settings, Watch
from twinwatch.errors import StorageError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.judging import Pipeline, WatchedRoot
from twinwatch.store import Catalog, Root
from twinwatch.watching import ChangeQueue, EventWatcher, RootMonitor, monitor


class NoPipeline:
    """Takes what the patrol hands on."""

    def forget(self, gone: list[object]) -> None:
        assert gone == []


@dataclass
class Round:
    """A patrol on real folders, in its thread."""

    patrol: RootMonitor
    watcher: EventWatcher
    roots: dict[Path, Root]
    grounds: dict[int, WatchedRoot]
    shares: list[Path]

    def beat(self, number: int = 0) -> monitor.RootStatus:
        return self.patrol.beats[self.shares[number]]

    def rounds(self, count: int = 2) -> None:
        """Wait until the patrol has gone round this often."""
        for _ in range(count):
            before_s = self.patrol.beat_s
            wait_for(lambda before_s=before_s: self.patrol.beat_s > before_s, 10)


@pytest.fixture
def going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Round]:
    monkeypatch.setattr(monitor, "LOOK_S", 0.05)
    shares = [tmp_path / "one", tmp_path / "two"]
    for share in shares:
        share.mkdir()
        (share / "a.jpg").write_bytes(b"a picture")
    settings = Settings(watch=tuple(Watch(path=share, action="quarantine") for share in shares))
    hints, stop = ChangeQueue(), threading.Event()
    watcher = EventWatcher(hints)
    roots: dict[Path, Root] = {}
    grounds: dict[int, WatchedRoot] = {}
    catalog_path = tmp_path / "catalog.db"
    Catalog(catalog_path).close()
    made = RootMonitor(settings, catalog_path, hints, watcher, cast(Pipeline, NoPipeline()), roots, grounds, stop)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        assert made.armed.wait(20)
        yield Round(made, watcher, roots, grounds, shares)
        assert thread.is_alive()
    finally:
        stop.set()
        made.wake()
        thread.join(20)
        watcher.stop()
    assert not thread.is_alive()


def test_cookies_come_round_and_leave_nothing(going: Round) -> None:
    before_s = going.watcher.cookies_s[going.shares[0]]
    wait_for(lambda: going.watcher.cookies_s[going.shares[0]] > before_s, 10)
    assert going.patrol.healthy()
    assert [path.name for path in (going.shares[0] / ".twinwatch").iterdir() if "cookie" in path.name] == []


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_user_lays_in_a_cookies_place_stays_as_it_is(
    going: Round, tmp_path: Path, kind: str, whole: bool
) -> None:
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"precious")
    private = going.shares[0] / ".twinwatch"
    if whole:  # whoever may write to the share may put another private folder in the place of ours
        private.rename(going.shares[0] / "old")
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
    going.rounds()
    assert precious.read_bytes() == b"precious"
    assert FileIdentity.of(os.lstat(place)) == before
    assert going.patrol.healthy()


def test_a_private_folder_that_is_a_link_is_not_entered(going: Round, tmp_path: Path) -> None:
    (going.shares[0] / ".twinwatch").rename(tmp_path / "old")
    (tmp_path / "elsewhere").mkdir(0o700)
    (going.shares[0] / ".twinwatch").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat()
    going.rounds()
    assert "is a link" in going.beat().blind
    assert (tmp_path / "elsewhere").stat() == before


def test_where_no_cookie_can_be_laid_it_is_said_once_and_nobody_is_ended_for_it(
    going: Round, capsys: pytest.CaptureFixture[str]
) -> None:
    (going.shares[0] / ".twinwatch").rename(going.shares[0] / "old")
    wait_for(lambda: going.beat().blind, 10)
    going.rounds(6)
    assert going.shares[0] not in going.watcher.cookies_s  # which would grow old, and the daemon with it
    assert going.patrol.healthy()
    assert going.beat().blind in going.beat().troubles
    (going.shares[0] / "old").rename(going.shares[0] / ".twinwatch")
    wait_for(lambda: not going.beat().blind, 10)
    assert going.shares[0] in going.watcher.cookies_s
    assert sum("no cookie can be laid" in line for line in capsys.readouterr().out.splitlines()) == 1


def test_the_trouble_of_one_folder_does_not_keep_the_others_waiting(
    tmp_path: Path, going: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = monitor.reconcile

    def failing(*arguments: object) -> None:
        if arguments[1] == going.shares[0]:
            raise StorageError("its disk is failing")
        real(*arguments)

    monkeypatch.setattr(monitor, "reconcile", failing)
    for share in going.shares:
        share.rename(share.with_suffix(".away"))
    wait_for(lambda: all(beat.away for beat in going.patrol.beats.values()), 10)
    for share in going.shares:
        share.with_suffix(".away").rename(share)
    wait_for(lambda: going.beat(1).root, 10)
    wait_for(lambda: going.beat(0).setback, 10)
    # What failed is not taken for done: the folder stays out until it could be taken on whole.
    assert going.beat(0).root is None
    assert going.shares[0] not in going.roots
    assert going.beat(0).setback == "its disk is failing"
    monkeypatch.setattr(monitor, "reconcile", real)
    wait_for(lambda: going.beat(0).root, 10)
    wait_for(lambda: not going.beat(0).setback, 10)
    assert set(going.roots) == set(going.shares)


@pytest.mark.parametrize(
    ("facts", "moves"),
    [({"action": "quarantine"}, True), ({"action": "flag"}, False), ({"action": "quarantine", "protect": True}, False)],
)
def test_only_where_the_admin_says_so_may_files_be_moved(tmp_path: Path, facts: dict[str, Any], moves: bool) -> None:
    share = tmp_path / "share"
    share.mkdir()
    catalog = Catalog(tmp_path / "catalog.db")
    root = catalog.add_root(share, folder_id(share), 1)
    ground = monitor._ground(Watch.model_validate({"path": share, **facts}), root, catalog)
    catalog.close()
    assert (ground.quarantine is not None) is moves
    assert (share / ".twinwatch").exists() is moves
