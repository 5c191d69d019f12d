"""Watches folders with inotify, through watchdog, and puts the files that events name into the ChangeQueue.

Events are hints, never proof. Where some were lost (the kernel's queue overflowed, a folder was renamed, our own queue
is full) the root is marked as lossy, and a scan finds what they would have named.
"""

from __future__ import annotations

import logging
import os
import time
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
from twinwatch.watching.changes import ChangeQueue
from twinwatch.watching.limits import watch_error_text

# Without this filter the kernel's queue overflows within seconds: opens and reads would be reported too.
_EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
_INOTIFY_LOGGER = "watchdog.observers.inotify_c"


class EventWatcher:
    """The watched roots and the threads, watchdog's, that read their events.

    One thread calls the methods; `alive` may be called by any. `cookies_s` holds, by root, the monotonic time at which
    the event of a cookie last came. watchdog's threads write it too: one entry at a time, so no lock is needed.
    """

    def __init__(self, changes: ChangeQueue) -> None:
        self._changes = changes
        self._observer = InotifyObserver()
        self._watches: dict[Path, ObservedWatch] = {}
        self.cookies_s: dict[Path, float] = {}
        self._overflow = _OverflowListener(self)
        logging.getLogger(_INOTIFY_LOGGER).addHandler(self._overflow)
        self._observer.start()

    def watch(self, root: Path, recursive: bool) -> str:
        """Watch `root` from now on. Return why that is impossible, or an empty string."""
        self.unwatch(root)
        handler = _Handler(self._changes, root, self.cookies_s)
        try:
            watch = self._observer.schedule(handler, str(root), recursive=recursive, event_filter=_EVENTS)
        except OSError as error:
            return watch_error_text(error)
        self._watches[root] = watch
        return ""

    def unwatch(self, root: Path) -> None:
        watch = self._watches.pop(root, None)
        if watch is not None:
            self._observer.unschedule(watch)

    @property
    def watched(self) -> frozenset[Path]:
        return frozenset(self._watches)

    def alive_roots(self) -> set[Path]:
        """Return the watched roots whose thread runs. It ends where the folder is deleted."""
        alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        return {root for root, watch in self._watches.items() if watch in alive}

    def alive(self) -> bool:
        """True while the thread runs that hands out the events of all roots."""
        return self._observer.is_alive()

    def mark_all_lossy(self) -> None:
        """Note that events of every watched root may have been lost."""
        self._changes.mark_lossy(self._watches)

    def stop(self) -> None:
        logging.getLogger(_INOTIFY_LOGGER).removeHandler(self._overflow)
        self._observer.stop()
        self._observer.join(5)


class _Handler(FileSystemEventHandler):
    """Takes the events of one root, in the observer's thread."""

    def __init__(self, changes: ChangeQueue, root: Path, cookies_s: dict[Path, float]) -> None:
        self._changes = changes
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
            self._changes.mark_lossy([self._root])
        elif not event.is_directory:
            self._changes.add(self._root, path)


class _OverflowListener(logging.Handler):
    """Listens to watchdog's log, the only place where watchdog 7.1 reports an overflow of the kernel's queue."""

    def __init__(self, watcher: EventWatcher) -> None:
        super().__init__(logging.WARNING)
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._watcher.mark_all_lossy()
