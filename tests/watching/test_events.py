"""Events on a real folder come as hints; what is lost is known to be lost."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinwatch.fs import COOKIE_PREFIX
from twinwatch.watching import ChangeQueue, EventWatcher, watch_limit
from twinwatch.watching.events import limit_advice, watched_folders

PATIENCE_S = 10.0
INOTIFY_LOGGER = "watchdog.observers.inotify_c"


class Watched:
    """A folder that is being watched, and all that was hinted so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hints = ChangeQueue()
        self.watcher = EventWatcher(self.hints)
        self.seen: set[bytes] = set()
        self.lossy: set[Path] = set()

    def look(self) -> None:
        spots, lossy = self.hints.take()
        assert all(root == self.path for root, _ in spots)
        self.seen.update(path for _, path in spots)
        self.lossy |= lossy

    def wait(self, what: Callable[[], bool]) -> bool:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            self.look()
            if what():
                return True
            self.hints.arrived.wait(0.05)
        return False

    def hinted(self, *paths: bytes) -> bool:
        return self.wait(lambda: self.seen >= set(paths))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "share"
    path.mkdir()
    watched = Watched(path)
    yield watched
    watched.watcher.stop()


@pytest.fixture
def armed(watched: Watched) -> Watched:
    assert watched.watcher.arm(watched.path, recursive=True) == ""
    return watched


def test_what_is_created_written_moved_or_linked_is_hinted(armed: Watched, tmp_path: Path) -> None:
    (armed.path / "created.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").rename(armed.path / "moved_in.jpg")
    os.link(armed.path / "created.jpg", armed.path / "linked.jpg")
    (armed.path / "created.jpg").rename(armed.path / "renamed.jpg")
    assert armed.hinted(b"created.jpg", b"moved_in.jpg", b"linked.jpg", b"renamed.jpg")


def test_a_file_that_was_there_and_is_written_is_hinted(watched: Watched) -> None:
    (watched.path / "old.jpg").write_bytes(b"x")
    watched.watcher.arm(watched.path, recursive=True)
    with (watched.path / "old.jpg").open("ab") as file:
        file.write(b"more")
    assert watched.hinted(b"old.jpg")


def test_reading_is_not_hinted(watched: Watched) -> None:
    (watched.path / "old.jpg").write_bytes(b"x")
    watched.watcher.arm(watched.path, recursive=True)
    for _ in range(20):
        (watched.path / "old.jpg").read_bytes()
    (watched.path / "last.jpg").write_bytes(b"x")
    assert watched.hinted(b"last.jpg")
    assert b"old.jpg" not in watched.seen


def test_a_folder_and_a_file_in_it_at_once(armed: Watched) -> None:
    for number in range(30):
        folder = armed.path / f"new{number}" / "deep"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
    assert armed.hinted(*(b"new%d/deep/a.jpg" % number for number in range(30)))


def test_a_folder_moved_in_brings_its_files_or_asks_for_a_scan(armed: Watched, tmp_path: Path) -> None:
    (tmp_path / "full" / "sub").mkdir(parents=True)
    (tmp_path / "full" / "sub" / "a.jpg").write_bytes(b"x")
    (tmp_path / "full").rename(armed.path / "full")
    assert armed.wait(lambda: b"full/sub/a.jpg" in armed.seen or armed.path in armed.lossy)


def test_a_renamed_folder_asks_for_a_scan(armed: Watched) -> None:
    (armed.path / "sub").mkdir()
    (armed.path / "a.jpg").write_bytes(b"x")
    assert armed.hinted(b"a.jpg")
    (armed.path / "sub").rename(armed.path / "other")
    assert armed.wait(lambda: armed.path in armed.lossy)


def test_a_name_that_is_not_text_is_hinted_as_bytes(armed: Watched) -> None:
    name = b"caf\xe9\n.jpg"
    (armed.path / os.fsdecode(name)).write_bytes(b"x")
    assert armed.hinted(name)


def test_without_recursion_only_the_top_is_watched(watched: Watched) -> None:
    (watched.path / "sub").mkdir()
    watched.watcher.arm(watched.path, recursive=False)
    (watched.path / "sub" / "a.jpg").write_bytes(b"x")
    (watched.path / "b.jpg").write_bytes(b"x")
    assert watched.hinted(b"b.jpg")
    assert watched.seen == {b"b.jpg"}


def test_the_cookie_comes_round_and_is_no_hint(armed: Watched) -> None:
    (armed.path / os.fsdecode(COOKIE_PREFIX)).parent.mkdir()
    before_s = time.monotonic()
    (armed.path / os.fsdecode(COOKIE_PREFIX)).write_bytes(b"x")
    assert armed.wait(lambda: armed.watcher.cookies_s.get(armed.path, 0) >= before_s)
    assert COOKIE_PREFIX not in armed.seen


def test_a_folder_that_is_not_there_cannot_be_watched(watched: Watched) -> None:
    assert "No such file" in watched.watcher.arm(watched.path / "none", recursive=True)
    assert watched.watcher.armed == frozenset()
    assert watched.watcher.alive()


def test_disarmed_is_silent_and_armed_again_is_not(armed: Watched) -> None:
    assert armed.watcher.armed == {armed.path}
    armed.watcher.disarm(armed.path)
    armed.watcher.disarm(armed.path)
    assert armed.watcher.armed == frozenset()
    (armed.path / "a.jpg").write_bytes(b"x")
    assert armed.watcher.arm(armed.path, recursive=True) == ""
    (armed.path / "b.jpg").write_bytes(b"x")
    assert armed.hinted(b"b.jpg")
    assert armed.seen == {b"b.jpg"}


def test_a_root_that_is_deleted_is_dead_and_can_be_armed_again(armed: Watched) -> None:
    assert armed.watcher.living() == {armed.path}
    armed.path.rmdir()
    assert armed.wait(lambda: armed.watcher.living() == set())
    armed.path.mkdir()
    assert armed.watcher.arm(armed.path, recursive=True) == ""
    assert armed.watcher.living() == {armed.path}
    (armed.path / "a.jpg").write_bytes(b"x")
    assert armed.hinted(b"a.jpg")


def test_the_kernel_counts_the_watched_folders(watched: Watched) -> None:
    before = watched_folders()
    for number in range(5):
        (watched.path / f"{number}").mkdir()
    watched.watcher.arm(watched.path, recursive=True)
    assert watched_folders() == before + 6
    assert watch_limit() > 0


def test_the_watch_limit_is_explained() -> None:
    text = limit_advice(1000, 300, 400)
    assert text.startswith("only 300 of 1000 folders are watched")
    assert "the limit on inotify watches is 400" in text
    assert "sysctl -w fs.inotify.max_user_watches=524288" in text
    assert "max_user_watches=2000000" in limit_advice(10**6, 1, 2)


def test_an_overflow_of_the_kernel_s_queue_marks_every_armed_root(armed: Watched) -> None:
    logger = logging.getLogger(INOTIFY_LOGGER)
    logger.warning("something else")
    assert armed.hints.take() == ([], set())
    logger.warning("inotify queue OVERFLOW, events were dropped")
    assert armed.hints.take() == ([], {armed.path})


def test_after_the_stop_an_overflow_is_nobody_s(tmp_path: Path) -> None:
    hints = ChangeQueue()
    watcher = EventWatcher(hints)
    watcher.arm(tmp_path, recursive=False)
    watcher.stop()
    logging.getLogger(INOTIFY_LOGGER).warning("queue overflow")
    assert hints.take() == ([], set())
    assert not watcher.alive()


# Hints


def test_hints_come_once_and_in_order() -> None:
    hints = ChangeQueue()
    for path in (b"b", b"a", b"b"):
        hints.put(Path("/x"), path)
    hints.put(Path("/y"), b"a")
    assert hints.arrived.is_set()
    assert hints.take() == ([(Path("/x"), b"b"), (Path("/x"), b"a"), (Path("/y"), b"a")], set())
    assert not hints.arrived.is_set()
    assert hints.take() == ([], set())


def test_beyond_the_capacity_the_root_is_marked() -> None:
    hints = ChangeQueue(capacity=2)
    for root, path in (("/x", b"a"), ("/x", b"b"), ("/y", b"c")):
        hints.put(Path(root), path)
    spots, lossy = hints.take()
    assert len(spots) == 2
    assert lossy == {Path("/y")}
    hints.put(Path("/y"), b"c")
    assert hints.take() == ([(Path("/y"), b"c")], set())


def test_lost_hints_wake_whoever_waits() -> None:
    hints = ChangeQueue()
    hints.lose([Path("/x")])
    assert hints.arrived.is_set()
    assert hints.take() == ([], {Path("/x")})
