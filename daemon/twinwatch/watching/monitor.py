"""The patrol thread: looks after the roots. Arms the events, scans, and notices what is away or back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from twinwatch.config import Settings, Watch
from twinwatch.errors import QuarantineError, StorageError
from twinwatch.fs import mount_of
from twinwatch.judging import CircuitBreaker, Pipeline, WatchedRoot
from twinwatch.quarantine import Quarantine, touch_cookie
from twinwatch.review import reconcile
from twinwatch.store import Catalog, Root, RootOfflineError, resolve_root
from twinwatch.watching.events import ChangeQueue, EventWatcher, limit_advice, watch_limit, watched_folders
from twinwatch.watching.ingest import enqueue
from twinwatch.watching.scan import ChangedFile, scan_root
from twinwatch.wording import error_text, pluralize

LOOK_S = 5.0
COOKIE_LOST_S = 60.0
_COMMIT_EVERY = 1000
_SCAN_PAUSE_S = 10.0  # between two scans of a root that events asked for

_log = structlog.get_logger("twinwatch")


@dataclass(slots=True)
class RootStatus:
    """One root on the patrol: what it is now and when it was last scanned. Times are monotonic seconds."""

    watch: Watch
    events: bool
    root: Root | None = None
    away: str = ""
    met: bool = False  # since the start
    scanned_s: float = float("-inf")
    scan_asked: bool = True
    files: int = 0
    folders: int = 0
    notes: list[str] = field(default_factory=list)
    deaf: str = ""  # why no events can be had
    empty: str = ""  # what to say of a folder in which there is nothing any more
    blind: str = ""  # why it cannot be seen whether events still come
    setback: str = ""  # why the last round left this folder out
    failing: str = ""  # the same of the round that is under way

    @property
    def troubles(self) -> list[str]:
        """What a person should know about it, besides that it is away."""
        return [*self.notes, *filter(None, (self.deaf, self.empty, self.blind, self.setback))]


class RootMonitor:
    """Runs in a thread of its own until `stop` is set. It keeps `roots` and `grounds` true for the others."""

    def __init__(
        self,
        settings: Settings,
        catalog_path: Path,
        hints: ChangeQueue,
        watcher: EventWatcher,
        pipeline: Pipeline,
        roots: dict[Path, Root],
        grounds: dict[int, WatchedRoot],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._catalog_path = catalog_path
        self._hints = hints
        self._watcher = watcher
        self._pipeline = pipeline
        self._roots = roots
        self._grounds = grounds
        self._stop = stop
        self._wake = threading.Event()
        self._limit_told = False
        self.beats = {watch.path: RootStatus(watch, uses_events(watch)) for watch in settings.watch}
        self.beat_s = time.monotonic()
        self.armed = threading.Event()

    def ask_scan(self, roots: set[Path]) -> None:
        """Scan these roots soon."""
        for path in roots:
            if path in self.beats:
                self.beats[path].scan_asked = True
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def run(self) -> None:
        catalog = Catalog(self._catalog_path)
        while not self._stop.is_set():
            self.beat_s = time.monotonic()
            for beat in self.beats.values():
                with self._spared(catalog, beat):
                    self._look_after(catalog, beat)
            self.armed.set()
            for beat in self.beats.values():
                with self._spared(catalog, beat):
                    self._scan_if_due(catalog, beat)
                beat.setback, beat.failing = beat.failing, ""
            self._release(catalog)
            self._wake.wait(LOOK_S)
            self._wake.clear()
        catalog.close()

    def healthy(self) -> bool:
        """True while every root's cookie comes round, where one can be laid."""
        now_s = time.monotonic()
        return all(now_s - seen_s < COOKIE_LOST_S for seen_s in list(self._watcher.cookies_s.values()))

    @contextmanager
    def _spared(self, catalog: Catalog, beat: RootStatus) -> Iterator[None]:
        """Let a fault cost one folder this round, and no other folder."""
        try:
            yield
        except (OSError, StorageError) as error:
            catalog.rollback()
            beat.failing = str(error)
            beat.scan_asked = True
            if beat.failing != beat.setback:
                _log.error("this folder has to wait, trying again", path=str(beat.watch.path), why=beat.failing)

    def _look_after(self, catalog: Catalog, beat: RootStatus) -> None:
        path = beat.watch.path
        try:
            root = resolve_root(path, catalog, time.time_ns(), starting=not beat.met)
        except RootOfflineError as error:
            self._lose(beat, str(error))
            return
        finally:
            catalog.commit()
        if beat.root is None or beat.root.id != root.id:
            self._take_on(catalog, beat, root)
        elif beat.events and path not in self._watcher.living():
            self._arm(beat)
        self._lay_cookie(beat, root)

    def _lose(self, beat: RootStatus, why: str) -> None:
        if beat.away != why:
            _log.warning("folder is away, nothing in it is believed to be deleted", why=why)
        beat.away = why
        self._watcher.disarm(beat.watch.path)
        self._watcher.cookies_s.pop(beat.watch.path, None)
        self._roots.pop(beat.watch.path, None)
        if beat.root is not None:
            self._grounds.pop(beat.root.id, None)
        beat.root = None

    def _take_on(self, catalog: Catalog, beat: RootStatus, root: Root) -> None:
        if beat.root is not None:
            self._roots.pop(beat.watch.path, None)
            self._grounds.pop(beat.root.id, None)
            beat.root = None
        ground = _ground(beat.watch, root, catalog)  # a fault in here leaves the root to the next round
        beat.events = uses_events(beat.watch)  # only now is it known what is mounted there
        if beat.away:
            _log.info("folder is back", path=str(beat.watch.path))
        beat.away, beat.root, beat.scan_asked, beat.met = "", root, True, True
        self._grounds[root.id] = ground
        beat.notes = [ground.why_not] if ground.why_not else []
        if ground.why_not:
            _log.warning("this folder is only flagged", path=str(beat.watch.path), why=ground.why_not)
        self._roots[beat.watch.path] = root
        if beat.events:
            self._arm(beat)

    def _arm(self, beat: RootStatus) -> None:
        """Have events from now on, and a scan for what came before; where they cannot be had, ask again next round."""
        trouble = self._watcher.arm(beat.watch.path, beat.watch.recursive)
        if not trouble:
            beat.scan_asked = True
        else:
            self._watcher.cookies_s.pop(beat.watch.path, None)  # no event is missed where none can come
            if beat.deaf != trouble:
                _log.warning("events cannot be had, this folder is scanned", path=str(beat.watch.path), why=trouble)
        beat.deaf = trouble

    def _lay_cookie(self, beat: RootStatus, root: Root) -> None:
        """Lay a file whose events must come round; only where quarantine made a private folder for it."""
        path = beat.watch.path
        if path not in self._watcher.armed or self._grounds[root.id].quarantine is None or not beat.watch.recursive:
            return
        try:
            touch_cookie(path)
        except (OSError, QuarantineError) as error:
            # The watchdog looks for a daemon that hangs: a folder that cannot be written to is no reason to end it.
            self._watcher.cookies_s.pop(path, None)
            blind = f"whether events still come cannot be seen: {error_text(error)}"
            if beat.blind != blind:
                _log.warning("no cookie can be laid", path=str(path), why=blind)
            beat.blind = blind
            return
        if beat.blind:
            _log.info("cookies can be laid again", path=str(path))
            beat.blind = ""
        seen_s = self._watcher.cookies_s.setdefault(path, time.monotonic())
        if time.monotonic() - seen_s > COOKIE_LOST_S / 2:
            _log.warning("events no longer come, watching anew", path=str(path))
            self._arm(beat)

    def _scan_if_due(self, catalog: Catalog, beat: RootStatus) -> None:
        age_s = time.monotonic() - beat.scanned_s
        asked = beat.scan_asked and age_s > _SCAN_PAUSE_S
        if beat.root is not None and (asked or age_s > self._settings.rescan_minutes * 60):
            self._scan(catalog, beat, beat.root)

    def _release(self, catalog: Catalog) -> None:
        """Let what was found be judged."""
        try:
            catalog.release_found()
            catalog.commit()
        except StorageError as error:
            catalog.rollback()
            _log.error("the queue cannot be written, trying again", why=str(error))
            return
        self._hints.arrived.set()
        try:
            self._check_limit()
        except OSError as error:  # no descriptor can be had just now
            _log.error("the watched folders cannot be counted, trying again", why=str(error))

    def _scan(self, catalog: Catalog, beat: RootStatus, root: Root) -> None:
        beat.scan_asked = False
        started_s = time.monotonic()
        queued = settling = 0

        def report(found: ChangedFile) -> None:
            nonlocal queued, settling
            last_change_ns = max(found.seen.mtime_ns, found.seen.ctime_ns)
            if time.time_ns() - last_change_ns < self._settings.settle_seconds * 1e9:
                self._hints.put(beat.watch.path, found.path)
                settling += 1
            else:
                queued += enqueue(catalog, root, found.path, found.seen, "found")
            if queued % _COMMIT_EVERY == 0:
                catalog.commit()

        def stop() -> bool:
            self.beat_s = time.monotonic()
            return self._stop.is_set()

        result = scan_root(beat.watch, root, catalog, report, stop)
        catalog.commit()
        if result.away:
            self._lose(beat, f"{beat.watch.path}: {result.away}")
            return
        self._pipeline.forget(result.gone)
        beat.scanned_s = time.monotonic()
        beat.files, beat.folders = result.files, result.folders
        seen = 0 if result.files else catalog.ever_seen(beat.watch.path)
        beat.empty = f"empty now; seen here before: {pluralize(seen, 'file')}. Is it mounted?" if seen else ""
        _log.info(
            "scanned",
            path=str(beat.watch.path),
            files=result.files,
            new_or_changed=queued + settling,
            still_settling=settling or None,
            gone=len(result.gone),
            seconds=round(time.monotonic() - started_s, 2),
        )

    def _check_limit(self) -> None:
        """Say so once if the kernel watches fewer folders than there are."""
        folders = sum(
            beat.folders if beat.watch.recursive else 1
            for beat in self.beats.values()
            if beat.watch.path in self._watcher.armed
        )
        watched = watched_folders()
        if watched >= folders or self._limit_told:
            return
        self._limit_told = True
        advice = limit_advice(folders, watched, watch_limit())
        for beat in self.beats.values():
            beat.notes.append(advice)
        _log.warning(advice)


def uses_events(watch: Watch) -> bool:
    """True if events are used for a root: as configured, or where its file system reports every change."""
    return watch.mode == "events" or (watch.mode == "auto" and not mount_of(watch.path).network)


def _ground(watch: Watch, root: Root, catalog: Catalog) -> WatchedRoot:
    if watch.action == "flag" or watch.protect:
        return WatchedRoot(watch.path, root.folder, watch.protect)
    quarantine = Quarantine(watch.path)
    try:
        quarantine.prepare()
        reconcile(quarantine, watch.path, root, catalog)
    except QuarantineError as error:
        return WatchedRoot(watch.path, root.folder, watch.protect, None, str(error))
    brake = CircuitBreaker(watch.max_moves_per_minute, watch.max_moved_percent)
    return WatchedRoot(watch.path, root.folder, watch.protect, quarantine, brake=brake)
