"""Ingest: what events named, and what judging wants looked at again, is queued once it is still."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon_site import wait_for
from twinwatch.config import Settings, Watch
from twinwatch.errors import StorageError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.store import QueueState, Root, Store, open_store
from twinwatch.store.store import SqliteStore
from twinwatch.watching import ChangeQueue, Ingest
from twinwatch.watching.online_roots import OnlineRoots

SETTLE_S = 0.1


@dataclass
class Bench:
    """An Ingest whose steps the test takes, and what it reads and writes."""

    share: Path
    root: Root
    store: Store
    changes: ChangeQueue
    online: OnlineRoots
    work_arrived: threading.Event
    ingest: Ingest

    def write(self, name: str) -> Path:
        path = self.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture")
        return path

    def queued(self) -> list[bytes]:
        """Take a step; return what waits to be judged."""
        self.ingest.step(self.store)
        return [file.path for file in self.store.queue.next(10, [self.root.id], [])]

    def judged(self, name: str) -> int:
        """Let a file be known and judged; return its id."""
        seen = FileIdentity.of(self.write(name).lstat())
        self.store.queue.add(self.root.id, name.encode(), seen, False, 1, QueueState.WAITING)
        file = self.store.files.at(self.root.id, name.encode())
        assert file is not None
        self.store.files.mark_kept(file.id)
        self.store.commit()
        return file.id


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    share = tmp_path / "share"
    share.mkdir()
    store = open_store(tmp_path / "catalog.db")
    root = store.roots.add(share, folder_id(share), 1)
    store.commit()
    settings = Settings(watch=(Watch(path=share),), settle_seconds=SETTLE_S)
    changes, online, work_arrived = ChangeQueue(), OnlineRoots(), threading.Event()
    online.put(share, root)
    ingest = Ingest(settings, store.path, changes, online, work_arrived)
    yield Bench(share, root, store, changes, online, work_arrived, ingest)
    store.close()


def test_what_events_name_is_queued_once_it_is_still(bench: Bench) -> None:
    bench.write("a.jpg")
    bench.changes.add(bench.share, b"a.jpg")
    assert bench.queued() == []
    assert not bench.work_arrived.is_set()
    wait_for(lambda: bench.queued() == [b"a.jpg"], 10)
    assert bench.work_arrived.is_set()


@pytest.mark.parametrize("name", ["a.txt", ".twinwatch/a.jpg", "none.jpg"])
def test_what_is_not_wanted_or_not_there_is_not_queued(bench: Bench, name: str) -> None:
    if "none" not in name:
        bench.write(name)
    bench.write("b.jpg")
    for path in (name, "b.jpg"):
        bench.changes.add(bench.share, path.encode())
    wait_for(lambda: bench.queued() == [b"b.jpg"], 10)


def test_what_judging_saw_change_is_looked_at_again_and_queued(bench: Bench) -> None:
    file_id = bench.judged("a.jpg")
    bench.store.queue.settle_changed(file_id)
    bench.store.commit()
    wait_for(lambda: bench.queued() == [b"a.jpg"], 10)


def test_what_judging_did_not_find_and_is_as_it_was_is_not_queued(bench: Bench) -> None:
    file_id = bench.judged("a.jpg")
    bench.store.queue.settle(file_id)
    bench.store.commit()
    bench.write("b.jpg")
    bench.changes.add(bench.share, b"b.jpg")
    wait_for(lambda: bench.queued() == [b"b.jpg"], 10)
    assert bench.store.queue.take_to_settle([bench.root.id]) == []


def test_what_judging_wants_looked_at_waits_while_its_root_is_offline(bench: Bench) -> None:
    file_id = bench.judged("a.jpg")
    bench.store.queue.settle_changed(file_id)
    bench.store.commit()
    bench.online.remove(bench.share)
    bench.ingest.step(bench.store)
    assert bench.store.queue.take_to_settle([bench.root.id]) == [(bench.root.id, b"a.jpg")]


def test_of_a_root_that_is_offline_nothing_is_queued(bench: Bench) -> None:
    bench.write("a.jpg")
    bench.changes.add(bench.share, b"a.jpg")
    bench.online.remove(bench.share)
    assert bench.queued() == []
    wait_for(lambda: bench.ingest._settler.next_check_s() is None or bench.queued(), 10)
    assert bench.queued() == []


def test_lost_events_request_a_scan(bench: Bench) -> None:
    bench.changes.mark_lossy([bench.share])
    assert bench.changes.scans.drain() == set()
    bench.ingest.step(bench.store)
    assert bench.changes.scans.drain() == {bench.share}


def test_what_cannot_be_queued_is_found_by_a_scan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqliteStore.commit
    failed = threading.Event()

    def fail_once(store: SqliteStore) -> None:
        if not failed.is_set():
            failed.set()
            raise StorageError("the disk is full")
        real(store)

    monkeypatch.setattr(SqliteStore, "commit", fail_once)
    monkeypatch.setattr("twinwatch.watching.ingest._RETRY_S", 0.01)
    bench.write("a.jpg")
    bench.changes.add(bench.share, b"a.jpg")
    thread = threading.Thread(target=bench.ingest.run)
    thread.start()
    try:
        assert wait_for(bench.changes.scans.drain, 10) == {bench.share}
    finally:
        bench.ingest.stop()
        thread.join(10)
    assert not thread.is_alive()
