"""One pass over folders ends, also where a daemon would wait for better times."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from twinwatch.errors import StorageError, TwinwatchError
from twinwatch.judging import Engine, WatchedRoots
from twinwatch.search import Bundle, Encoder
from twinwatch.service import scan_once
from twinwatch.store import open_store
from twinwatch.store.store import SqliteStore
from twinwatch.workers import WorkerPool


class Waiting:
    """A pipeline that tries the same files again and again, and workers that do nothing."""

    judged = 0

    def __init__(self, *_: Any) -> None:
        pass

    def idle(self) -> bool:
        return False

    def raise_if_unhealthy(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_once, "Pipeline", Waiting)
    monkeypatch.setattr(scan_once, "_ONLINE_CHECK_S", 0.05)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    album = tmp_path / "album"
    album.mkdir()
    (album / "a.jpg").write_bytes(b"a picture")
    return album


def look_through(album: Path, progress: Any) -> scan_once.ScanReport:
    catalog_path = album.parent / "catalog.db"
    engine = Engine(cast(Bundle, None), cast(Encoder, None), cast(WorkerPool, Waiting()))
    return scan_once.scan_folders([album], catalog_path, engine, progress)


@pytest.mark.parametrize("put_another", [False, True])
@pytest.mark.timeout(20)
def test_a_folder_that_goes_away_ends_it(album: Path, put_another: bool) -> None:
    gone = threading.Event()

    def rename(_judged: int, _total: int) -> None:
        if not gone.is_set():
            album.rename(album.with_name("elsewhere"))
            if put_another:
                album.mkdir()
            gone.set()

    with pytest.raises(TwinwatchError, match="went away while it was looked at; bring it back, scan again") as caught:
        look_through(album, rename)
    assert str(album) in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_long_look_through_folders_tells_how_many_are_to_be_judged(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EnoughError(Exception):
        pass

    def count(judged: int, total: int) -> None:
        told.append((judged, total))
        if len(told) == 3:
            raise EnoughError

    (album / "more").mkdir()
    for path in (album / "b.jpg", album / "more" / "c.jpg"):
        path.write_bytes(b"a picture")
    monkeypatch.setattr(scan_once, "_PROGRESS_EVERY", 1)
    told: list[tuple[int, int]] = []
    with pytest.raises(EnoughError):
        look_through(album, count)
    assert told == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.timeout(20)
def test_what_changes_while_it_is_read_is_reported(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Judging(Waiting):
        """Sees one file change, and keeps the other."""

        def __init__(self, store_path: Path, _engine: Engine, roots: WatchedRoots, *_: object) -> None:
            store = open_store(store_path)
            changing, kept = store.queue.next(10, roots.ids(), [])
            store.queue.settle_changed(changing.id)
            store.files.mark_kept(kept.id)
            store.commit()
            store.close()

        def idle(self) -> bool:
            return True

    monkeypatch.setattr(scan_once, "Pipeline", Judging)
    (album / "b.jpg").write_bytes(b"another picture")
    report = look_through(album, lambda _judged, _total: None)
    assert report.files == 2
    assert len(report.changed) == 1


@pytest.mark.timeout(20)
def test_a_disk_that_fills_ends_it(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_store: SqliteStore) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="the disk is full"):
        look_through(album, lambda _judged, _total: monkeypatch.setattr(SqliteStore, "commit", refuse))
