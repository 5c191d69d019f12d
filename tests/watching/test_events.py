"""Events on a real folder come as hints; what is lost is known to be lost."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinwatch.fs import COOKIE_PREFIX
from twinwatch.watching import ChangeQueue, EventWatcher, watch_limit
from twinwatch.watching.limits import limit_advice, watched_folders

PATIENCE_S = 10.0
INOTIFY_LOGGER = "watchdog.observers.inotify_c"


class Share:
    """A folder with an EventWatcher, and all that its events named so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = ChangeQueue()
        self.watcher = EventWatcher(self.changes)
        self.seen: set[bytes] = set()
        self.lossy: set[Path] = set()

    def look(self) -> None:
        paths, lossy = self.changes.drain()
        assert all(root == self.path for root, _ in paths)
        self.seen.update(path for _, path in paths)
        self.lossy |= lossy

    def wait(self, what: Callable[[], bool]) -> bool:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            self.look()
            if what():
                return True
            self.changes.arrived.wait(0.05)
        return False

    def hinted(self, *paths: bytes) -> bool:
        return self.wait(lambda: self.seen >= set(paths))


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    path = tmp_path / "share"
    path.mkdir()
    share = Share(path)
    yield share
    share.watcher.stop()


@pytest.fixture
def watched(share: Share) -> Share:
    assert share.watcher.watch(share.path, recursive=True) == ""
    return share


def test_what_is_created_written_moved_or_linked_is_hinted(watched: Share, tmp_path: Path) -> None:
    (watched.path / "created.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").rename(watched.path / "moved_in.jpg")
    os.link(watched.path / "created.jpg", watched.path / "linked.jpg")
    (watched.path / "created.jpg").rename(watched.path / "renamed.jpg")
    assert watched.hinted(b"created.jpg", b"moved_in.jpg", b"linked.jpg", b"renamed.jpg")


def test_a_file_that_was_there_and_is_written_is_hinted(share: Share) -> None:
    (share.path / "old.jpg").write_bytes(b"x")
    share.watcher.watch(share.path, recursive=True)
    with (share.path / "old.jpg").open("ab") as file:
        file.write(b"more")
    assert share.hinted(b"old.jpg")


def test_reading_is_not_hinted(share: Share) -> None:
    (share.path / "old.jpg").write_bytes(b"x")
    share.watcher.watch(share.path, recursive=True)
    for _ in range(20):
        (share.path / "old.jpg").read_bytes()
    (share.path / "last.jpg").write_bytes(b"x")
    assert share.hinted(b"last.jpg")
    assert b"old.jpg" not in share.seen


def test_a_folder_and_a_file_in_it_at_once(watched: Share) -> None:
    for number in range(30):
        folder = watched.path / f"new{number}" / "deep"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
    assert watched.hinted(*(b"new%d/deep/a.jpg" % number for number in range(30)))


def test_a_folder_moved_in_brings_its_files_or_asks_for_a_scan(watched: Share, tmp_path: Path) -> None:
    (tmp_path / "full" / "sub").mkdir(parents=True)
    (tmp_path / "full" / "sub" / "a.jpg").write_bytes(b"x")
    (tmp_path / "full").rename(watched.path / "full")
    assert watched.wait(lambda: b"full/sub/a.jpg" in watched.seen or watched.path in watched.lossy)


def test_a_renamed_folder_asks_for_a_scan(watched: Share) -> None:
    (watched.path / "sub").mkdir()
    (watched.path / "a.jpg").write_bytes(b"x")
    assert watched.hinted(b"a.jpg")
    (watched.path / "sub").rename(watched.path / "other")
    assert watched.wait(lambda: watched.path in watched.lossy)


def test_a_name_that_is_not_text_is_hinted_as_bytes(watched: Share) -> None:
    name = b"caf\xe9\n.jpg"
    (watched.path / os.fsdecode(name)).write_bytes(b"x")
    assert watched.hinted(name)


def test_without_recursion_only_the_top_is_watched(share: Share) -> None:
    (share.path / "sub").mkdir()
    share.watcher.watch(share.path, recursive=False)
    (share.path / "sub" / "a.jpg").write_bytes(b"x")
    (share.path / "b.jpg").write_bytes(b"x")
    assert share.hinted(b"b.jpg")
    assert share.seen == {b"b.jpg"}


def test_the_cookie_comes_round_and_is_no_hint(watched: Share) -> None:
    (watched.path / os.fsdecode(COOKIE_PREFIX)).parent.mkdir()
    before_s = time.monotonic()
    (watched.path / os.fsdecode(COOKIE_PREFIX)).write_bytes(b"x")
    assert watched.wait(lambda: watched.watcher.cookies_s.get(watched.path, 0) >= before_s)
    assert COOKIE_PREFIX not in watched.seen


def test_a_folder_that_is_not_there_cannot_be_watched(share: Share) -> None:
    assert "No such file" in share.watcher.watch(share.path / "none", recursive=True)
    assert share.watcher.watched == frozenset()
    assert share.watcher.alive()


def test_an_unwatched_root_is_silent_until_it_is_watched_again(watched: Share) -> None:
    assert watched.watcher.watched == {watched.path}
    watched.watcher.unwatch(watched.path)
    watched.watcher.unwatch(watched.path)
    assert watched.watcher.watched == frozenset()
    (watched.path / "a.jpg").write_bytes(b"x")
    assert watched.watcher.watch(watched.path, recursive=True) == ""
    (watched.path / "b.jpg").write_bytes(b"x")
    assert watched.hinted(b"b.jpg")
    assert watched.seen == {b"b.jpg"}


def test_a_root_that_is_deleted_is_dead_and_can_be_watched_again(watched: Share) -> None:
    assert watched.watcher.alive_roots() == {watched.path}
    watched.path.rmdir()
    assert watched.wait(lambda: watched.watcher.alive_roots() == set())
    watched.path.mkdir()
    assert watched.watcher.watch(watched.path, recursive=True) == ""
    assert watched.watcher.alive_roots() == {watched.path}
    (watched.path / "a.jpg").write_bytes(b"x")
    assert watched.hinted(b"a.jpg")


def test_the_kernel_counts_the_watched_folders(share: Share) -> None:
    before = watched_folders()
    for number in range(5):
        (share.path / f"{number}").mkdir()
    share.watcher.watch(share.path, recursive=True)
    assert watched_folders() == before + 6
    assert watch_limit() > 0


def test_the_watch_limit_is_explained() -> None:
    text = limit_advice(1000, 300, 400)
    assert text.startswith("only 300 of 1000 folders are watched")
    assert "the limit on inotify watches is 400" in text
    assert "sysctl -w fs.inotify.max_user_watches=524288" in text
    assert "max_user_watches=2000000" in limit_advice(10**6, 1, 2)


def test_an_overflow_of_the_kernel_s_queue_marks_every_watched_root(watched: Share) -> None:
    logger = logging.getLogger(INOTIFY_LOGGER)
    logger.warning("something else")
    assert watched.changes.drain() == ([], set())
    logger.warning("inotify queue OVERFLOW, events were dropped")
    assert watched.changes.drain() == ([], {watched.path})


def test_after_the_stop_an_overflow_is_nobody_s(tmp_path: Path) -> None:
    changes = ChangeQueue()
    watcher = EventWatcher(changes)
    watcher.watch(tmp_path, recursive=False)
    watcher.stop()
    logging.getLogger(INOTIFY_LOGGER).warning("queue overflow")
    assert changes.drain() == ([], set())
    assert not watcher.alive()


# The queue


def test_changes_come_once_and_in_order() -> None:
    changes = ChangeQueue()
    for path in (b"b", b"a", b"b"):
        changes.add(Path("/x"), path)
    changes.add(Path("/y"), b"a")
    assert changes.arrived.is_set()
    assert changes.drain() == ([(Path("/x"), b"b"), (Path("/x"), b"a"), (Path("/y"), b"a")], set())
    assert not changes.arrived.is_set()
    assert changes.drain() == ([], set())


def test_beyond_the_capacity_the_root_is_marked() -> None:
    changes = ChangeQueue(capacity=2)
    for root, path in (("/x", b"a"), ("/x", b"b"), ("/y", b"c")):
        changes.add(Path(root), path)
    paths, lossy = changes.drain()
    assert len(paths) == 2
    assert lossy == {Path("/y")}
    changes.add(Path("/y"), b"c")
    assert changes.drain() == ([(Path("/y"), b"c")], set())


def test_lost_events_wake_the_thread_that_waits() -> None:
    changes = ChangeQueue()
    changes.mark_lossy([Path("/x")])
    assert changes.arrived.is_set()
    assert changes.drain() == ([], {Path("/x")})
