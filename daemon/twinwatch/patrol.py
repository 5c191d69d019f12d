"""The patrol thread: looks after the roots. Arms the events, scans, and notices what is away or back."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from twinwatch.catalog import Catalog, Root, StorageError
from twinwatch.config import Settings, Watch
from twinwatch.errors import QuarantineError
from twinwatch.intake import enqueue
from twinwatch.judgement import Ground
from twinwatch.mounts import mount_of
from twinwatch.pipeline import Pipeline
from twinwatch.quarantine import Quarantine
from twinwatch.recovery import reconcile
from twinwatch.roots import AwayError, recognise
from twinwatch.scanner import Found, scan
from twinwatch.watcher import COOKIE, Hints, Watcher, limit_advice, watch_limit, watched_folders

LOOK_S = 5.0
COOKIE_LOST_S = 60.0
_COMMIT_EVERY = 1000
_SCAN_PAUSE_S = 10.0  # between two scans of a root that events asked for

_log = structlog.get_logger("twinwatch")


@dataclass(slots=True)
class Beat:
    """One root on the patrol: what it is now and when it was last scanned. Times are monotonic seconds."""

    watch: Watch
    events: bool
    root: Root | None = None
    away: str = ""
    scanned_s: float = float("-inf")
    scan_asked: bool = True
    files: int = 0
    folders: int = 0
    notes: list[str] = field(default_factory=list)


class Patrol:
    """Runs in a thread of its own until `stop` is set. It keeps `roots` and `grounds` true for the others."""

    def __init__(
        self,
        settings: Settings,
        catalog_path: Path,
        hints: Hints,
        watcher: Watcher,
        pipeline: Pipeline,
        roots: dict[Path, Root],
        grounds: dict[int, Ground],
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
        self.beats = {watch.path: Beat(watch, uses_events(watch)) for watch in settings.watch}
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
        starting = True
        while not self._stop.is_set():
            self.beat_s = time.monotonic()
            try:
                for beat in self.beats.values():
                    self._look_after(catalog, beat, starting)
                self.armed.set()
                self._scan_due(catalog)
            except (OSError, StorageError) as error:
                catalog.rollback()
                _log.error("scan interrupted, trying again", why=str(error))
            starting = False
            self._wake.wait(LOOK_S)
            self._wake.clear()
        catalog.close()

    def healthy(self) -> bool:
        """True while every root's cookie comes round, where one can be laid."""
        now_s = time.monotonic()
        return all(now_s - seen_s < COOKIE_LOST_S for seen_s in self._watcher.cookies_s.values())

    def _look_after(self, catalog: Catalog, beat: Beat, starting: bool) -> None:
        path = beat.watch.path
        try:
            root = recognise(path, catalog, time.time_ns(), starting)
        except AwayError as error:
            self._lose(beat, str(error))
            return
        finally:
            catalog.commit()
        if beat.root is None or beat.root.id != root.id:
            self._take_on(catalog, beat, root)
        elif beat.events and path in self._watcher.dead():
            self._arm(beat)
            beat.scan_asked = True
        self._lay_cookie(beat)

    def _lose(self, beat: Beat, why: str) -> None:
        if beat.away != why:
            _log.warning("folder is away, nothing in it is believed to be deleted", why=why)
        beat.away = why
        self._watcher.disarm(beat.watch.path)
        self._watcher.cookies_s.pop(beat.watch.path, None)
        self._roots.pop(beat.watch.path, None)
        if beat.root is not None:
            self._grounds.pop(beat.root.id, None)
        beat.root = None

    def _take_on(self, catalog: Catalog, beat: Beat, root: Root) -> None:
        if beat.root is not None:
            self._grounds.pop(beat.root.id, None)
        if beat.away:
            _log.info("folder is back", path=str(beat.watch.path))
        beat.away, beat.root, beat.scan_asked = "", root, True
        ground = _ground(beat.watch, root, catalog)
        self._grounds[root.id] = ground
        beat.notes = [ground.why_not] if ground.why_not else []
        if ground.why_not:
            _log.warning("this folder is only flagged", path=str(beat.watch.path), why=ground.why_not)
        self._roots[beat.watch.path] = root
        if beat.events:
            self._arm(beat)

    def _arm(self, beat: Beat) -> None:
        trouble = self._watcher.arm(beat.watch.path, beat.watch.recursive)
        if trouble:
            beat.notes.append(trouble)
            _log.warning("events cannot be had, this folder is scanned", path=str(beat.watch.path), why=trouble)

    def _lay_cookie(self, beat: Beat) -> None:
        """Touch a file whose event must come round; only where quarantine made a private folder for it."""
        path = beat.watch.path
        assert beat.root is not None  # its caller has just recognised it
        if path not in self._watcher.armed or self._grounds[beat.root.id].quarantine is None:
            return
        if not beat.watch.recursive:
            return
        try:
            (path / os.fsdecode(COOKIE)).write_bytes(b"")
        except OSError as error:
            _log.warning("no cookie can be laid", path=str(path), why=str(error))
            return
        seen_s = self._watcher.cookies_s.setdefault(path, time.monotonic())
        if time.monotonic() - seen_s > COOKIE_LOST_S / 2:
            _log.warning("events no longer come, watching anew", path=str(path))
            self._arm(beat)
            beat.scan_asked = True

    def _scan_due(self, catalog: Catalog) -> None:
        now_s = time.monotonic()
        for beat in self.beats.values():
            age_s = now_s - beat.scanned_s
            asked = beat.scan_asked and age_s > _SCAN_PAUSE_S
            if beat.root is not None and (asked or age_s > self._settings.rescan_minutes * 60):
                self._scan(catalog, beat, beat.root)
        catalog.release_found()
        catalog.commit()
        self._hints.arrived.set()
        self._check_limit()

    def _scan(self, catalog: Catalog, beat: Beat, root: Root) -> None:
        beat.scan_asked = False
        started_s = time.monotonic()
        queued = 0

        def report(found: Found) -> None:
            nonlocal queued
            self.beat_s = time.monotonic()
            last_change_ns = max(found.seen.mtime_ns, found.seen.ctime_ns)
            if time.time_ns() - last_change_ns < self._settings.settle_seconds * 1e9:
                self._hints.put(beat.watch.path, found.path)
            else:
                queued += enqueue(catalog, root, found.path, found.seen, "found")
            if queued % _COMMIT_EVERY == 0:
                catalog.commit()

        result = scan(beat.watch, root, catalog, report, self._stop.is_set)
        catalog.commit()
        if result.away:
            self._lose(beat, f"{beat.watch.path}: {result.away}")
            return
        self._pipeline.forget(result.gone)
        beat.scanned_s = time.monotonic()
        beat.files, beat.folders = result.files, result.folders
        _log.info(
            "scanned",
            path=str(beat.watch.path),
            files=result.files,
            new_or_changed=queued,
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


def _ground(watch: Watch, root: Root, catalog: Catalog) -> Ground:
    if watch.action == "flag" or watch.protect:
        return Ground(watch.path, root.folder, watch.protect)
    quarantine = Quarantine(watch.path)
    try:
        quarantine.prepare()
        reconcile(quarantine, watch.path, root, catalog)
    except QuarantineError as error:
        return Ground(watch.path, root.folder, watch.protect, None, str(error))
    return Ground(watch.path, root.folder, watch.protect, quarantine)
