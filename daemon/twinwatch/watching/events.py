"""watchdog events to candidate paths. Events are hints, never proof: what they miss, the scan finds.

The handler only enqueues. Where events cannot all be had (kernel queue overflow, watch limit, our own queue full) the
root is marked to be scanned.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyObserver

from twinwatch.fs import COOKIE_PREFIX

# Without this filter the kernel's queue overflows within seconds: opens and reads would be reported too.
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
_INOTIFY_LOGGER = "watchdog.observers.inotify_c"


class ChangeQueue:
    """(watched path, relative path) that events named, without repeats; and roots of which hints were lost."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._spots: dict[tuple[Path, bytes], None] = {}
        self._lossy: set[Path] = set()
        self._lock = threading.Lock()
        self.arrived = threading.Event()

    def put(self, root: Path, path: bytes) -> None:
        """Name a file to be looked at; `path` is relative to the root."""
        with self._lock:
            if len(self._spots) < self._capacity:
                self._spots[root, path] = None
            else:
                self._lossy.add(root)
        self.arrived.set()

    def lose(self, roots: Iterable[Path]) -> None:
        """Note that hints of these roots were lost."""
        with self._lock:
            self._lossy.update(roots)
        self.arrived.set()

    def take(self) -> tuple[list[tuple[Path, bytes]], set[Path]]:
        """Return and forget all that was named, and all roots that need a scan."""
        with self._lock:
            self.arrived.clear()
            spots, lossy = list(self._spots), self._lossy
            self._spots, self._lossy = {}, set()
        return spots, lossy


class EventWatcher:
    """Watches folders for events. `cookies_s` tells when (monotonic) a root's last cookie came round."""

    def __init__(self, hints: ChangeQueue) -> None:
        self._hints = hints
        self._observer = InotifyObserver()
        self._watches: dict[Path, ObservedWatch] = {}
        self.cookies_s: dict[Path, float] = {}
        self._overflow = _OverflowListener(self)
        logging.getLogger(_INOTIFY_LOGGER).addHandler(self._overflow)
        self._observer.start()

    def arm(self, root: Path, recursive: bool) -> str:
        """Watch `root` from now on; return why that cannot be done, or an empty string."""
        self.disarm(root)
        handler = _Handler(self._hints, root, self.cookies_s)
        try:
            watch = self._observer.schedule(handler, str(root), recursive=recursive, event_filter=_EVENTS)
        except OSError as error:
            return _advice(error)
        self._watches[root] = watch
        return ""

    def disarm(self, root: Path) -> None:
        watch = self._watches.pop(root, None)
        if watch is not None:
            self._observer.unschedule(watch)

    @property
    def armed(self) -> frozenset[Path]:
        return frozenset(self._watches)

    def living(self) -> set[Path]:
        """Return the armed roots whose thread has not ended, as it does after the folder was deleted."""
        living = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        return {root for root, watch in self._watches.items() if watch in living}

    def alive(self) -> bool:
        return self._observer.is_alive()

    def lost_events(self) -> None:
        self._hints.lose(self._watches)

    def stop(self) -> None:
        logging.getLogger(_INOTIFY_LOGGER).removeHandler(self._overflow)
        self._observer.stop()
        self._observer.join(5)


def watched_folders() -> int:
    """Return how many folders this process watches, counted by the kernel: proc(5), /proc/self/fdinfo."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(fd) == "anon_inode:inotify":
                count += Path("/proc/self/fdinfo", fd.name).read_text().count("inotify wd:")
        except OSError:  # the descriptor was closed meanwhile
            continue
    return count


def watch_limit() -> int:
    """Return the kernel's limit on watched folders for one user."""
    return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())


def limit_advice(folders: int, watched: int, limit: int) -> str:
    """Return the message for a watch limit that was reached."""
    return (
        f"only {watched} of {folders} folders are watched, as the limit on inotify watches is {limit}; what events "
        f"miss is found by scans. Raise it: sysctl -w fs.inotify.max_user_watches={max(524288, 2 * folders)}"
    )


class _Handler(FileSystemEventHandler):
    def __init__(self, hints: ChangeQueue, root: Path, cookies_s: dict[Path, float]) -> None:
        self._hints = hints
        self._root = root
        self._prefix = os.fsencode(root).rstrip(b"/") + b"/"
        self._cookies_s = cookies_s

    def dispatch(self, event: FileSystemEvent) -> None:
        """Only enqueue: an exception here would end the observer's thread, and delay would overflow the kernel."""
        path = os.fsencode(event.dest_path or event.src_path).removeprefix(self._prefix)
        if path.startswith(COOKIE_PREFIX):
            self._cookies_s[self._root] = time.monotonic()
        elif isinstance(event, DirMovedEvent):
            # A burst of renames can leave files unreported, and folders unwatched.
            self._hints.lose([self._root])
        elif not event.is_directory:
            self._hints.put(self._root, path)


class _OverflowListener(logging.Handler):
    """watchdog tells of a kernel queue overflow in its log only."""

    def __init__(self, watcher: EventWatcher) -> None:
        super().__init__(logging.WARNING)
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._watcher.lost_events()


def _advice(error: OSError) -> str:
    text = error.strerror or str(error)
    if "limit" in text or error.errno in (28, 24):
        return f"{text}; raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl"
    return text
