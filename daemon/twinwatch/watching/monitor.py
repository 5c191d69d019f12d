"""Monitors the watched roots: keeps events coming, scans, and notices which roots go offline or come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from twinwatch.config import Settings
from twinwatch.errors import QuarantineError, StorageError
from twinwatch.quarantine import touch_cookie
from twinwatch.store import Root, RootOfflineError, Store, open_store, resolve_root
from twinwatch.threads import Heartbeat
from twinwatch.watching.attach import RootAttachments, open_quarantine
from twinwatch.watching.changes import ChangeQueue
from twinwatch.watching.enqueue import FoundFiles
from twinwatch.watching.events import EventWatcher
from twinwatch.watching.limits import limit_advice, watch_limit, watched_folders
from twinwatch.watching.mode import uses_events
from twinwatch.watching.online_roots import OnlineRoots
from twinwatch.watching.root_status import RootStatus
from twinwatch.watching.scan import ScanResult, scan_root
from twinwatch.wording import error_text, pluralize

LOOK_S = 5.0
COOKIE_LOST_S = 60.0

_log = structlog.get_logger("twinwatch")


class RootMonitor:
    """The thread that looks after all roots, one round every few seconds. `run` returns after `stop`.

    `statuses` holds one status for each configured root, by path. `online` holds the roots that are online, for Ingest.
    `ready` is set once each root was looked at, so that events come from all that are online.
    """

    def __init__(
        self,
        settings: Settings,
        store_path: Path,
        changes: ChangeQueue,
        watcher: EventWatcher,
        attachments: RootAttachments,
        work_arrived: threading.Event,
    ) -> None:
        self._settings = settings
        self._store_path = store_path
        self._changes = changes
        self._watcher = watcher
        self._attachments = attachments
        self._work_arrived = work_arrived
        self._stopping = threading.Event()
        self._limit_reported = False
        self.online = OnlineRoots()
        self.statuses = {watch.path: RootStatus(watch, uses_events(watch)) for watch in settings.watch}
        self.ready = threading.Event()
        self.heartbeat = Heartbeat()

    def stop(self) -> None:
        """Let `run` return after the file that a scan is at."""
        self._stopping.set()
        self._changes.scans.wake()

    def alive(self) -> bool:
        """True while every root's cookie comes round, where one can be written."""
        now_s = time.monotonic()
        return all(now_s - seen_s < COOKIE_LOST_S for seen_s in list(self._watcher.cookies_s.values()))

    def run(self) -> None:
        store = open_store(self._store_path)
        while not self._stopping.is_set():
            self.heartbeat.beat()
            self._round(store)
            self._changes.scans.wait(LOOK_S)
        store.close()

    def _round(self, store: Store) -> None:
        errors: dict[Path, str] = {}
        for status in self.statuses.values():
            with self._isolate_errors(store, status, errors):
                self._keep_watched(store, status)
        self.ready.set()
        for status in self.statuses.values():
            with self._isolate_errors(store, status, errors):
                self._take_scan_requests()
                self._scan_if_due(store, status)
            status.problems.last_error = errors.get(status.watch.path, "")
        if self._release_found(store):
            try:
                self._check_watch_limit()
            except OSError as error:  # no descriptor can be had just now
                _log.error("the watched folders cannot be counted, trying again", why=str(error))

    @contextmanager
    def _isolate_errors(self, store: Store, status: RootStatus, errors: dict[Path, str]) -> Iterator[None]:
        """Let an error end this root's part in the round, and no other root's."""
        try:
            yield
        except (OSError, StorageError) as error:
            store.rollback()
            status.scans.requested = True
            errors[status.watch.path] = why = str(error)
            if why != status.problems.last_error:
                _log.error("this folder has to wait, trying again", path=str(status.watch.path), why=why)

    # Online or offline

    def _keep_watched(self, store: Store, status: RootStatus) -> None:
        path = status.watch.path
        try:
            root = resolve_root(path, store, time.time_ns(), starting=not status.seen_online)
        except RootOfflineError as error:
            self._set_offline(status, str(error))
            return
        finally:
            store.commit()
        if status.root is None or status.root.id != root.id:
            self._set_online(store, status, root)
        elif status.uses_events and path not in self._watcher.alive_roots():
            self._watch_events(status)
        self._write_cookie(status)

    def _set_offline(self, status: RootStatus, reason: str) -> None:
        if status.offline_reason != reason:
            _log.warning("folder is away, nothing in it is believed to be deleted", why=reason)
        status.offline_reason = reason
        self._watcher.unwatch(status.watch.path)
        self._watcher.cookies_s.pop(status.watch.path, None)
        self._detach(status)

    def _set_online(self, store: Store, status: RootStatus, root: Root) -> None:
        """Take up a root. An error leaves it detached, for the next round."""
        path, problems = status.watch.path, status.problems
        self._detach(status)
        quarantine, flag_only_reason = open_quarantine(status.watch, root, store)
        status.uses_events = uses_events(status.watch)  # only now is it known what is mounted there
        if status.offline_reason:
            _log.info("folder is back", path=str(path))
        if flag_only_reason:
            _log.warning("this folder is only flagged", path=str(path), why=flag_only_reason)
        problems.flag_only_reason, problems.limit_advice = flag_only_reason, ""
        status.offline_reason, status.seen_online = "", True
        status.root, status.has_quarantine = root, quarantine is not None
        status.scans.requested = True
        self._attachments.attach(status.watch, root, quarantine, flag_only_reason)
        self.online.put(path, root)
        if status.uses_events:
            self._watch_events(status)

    def _detach(self, status: RootStatus) -> None:
        self.online.remove(status.watch.path)
        if status.root is not None:
            self._attachments.detach(status.root.id)
        status.root = None

    # Events

    def _watch_events(self, status: RootStatus) -> None:
        """Watch a root from now on, and request a scan for what came before. The next round tries again on failure."""
        path, problems = status.watch.path, status.problems
        reason = self._watcher.watch(path, status.watch.recursive)
        if not reason:
            status.scans.requested = True
        else:
            self._watcher.cookies_s.pop(path, None)  # no event is missed where none can come
            if problems.no_events_reason != reason:
                _log.warning("events cannot be had, this folder is scanned", path=str(path), why=reason)
        problems.no_events_reason = reason

    def _write_cookie(self, status: RootStatus) -> None:
        """Touch a file whose event must come; only where quarantine made a private folder for it."""
        path, problems = status.watch.path, status.problems
        if path not in self._watcher.watched or not status.has_quarantine or not status.watch.recursive:
            return
        try:
            touch_cookie(path)
        except (OSError, QuarantineError) as error:
            # The watchdog looks for a daemon that hangs: a folder that cannot be written to is no reason to end it.
            self._watcher.cookies_s.pop(path, None)
            reason = f"whether events still come cannot be seen: {error_text(error)}"
            if problems.probe_error != reason:
                _log.warning("no cookie can be laid", path=str(path), why=reason)
            problems.probe_error = reason
            return
        if problems.probe_error:
            _log.info("cookies can be laid again", path=str(path))
            problems.probe_error = ""
        seen_s = self._watcher.cookies_s.setdefault(path, time.monotonic())
        if time.monotonic() - seen_s > COOKIE_LOST_S / 2:
            _log.warning("events no longer come, watching anew", path=str(path))
            self._watch_events(status)

    # Scans

    def _take_scan_requests(self) -> None:
        for watched in self._changes.scans.drain() & self.statuses.keys():
            self.statuses[watched].scans.requested = True

    def _scan_if_due(self, store: Store, status: RootStatus) -> None:
        rescan_s = self._settings.rescan_minutes * 60
        if status.root is not None and status.scans.is_due(time.monotonic(), rescan_s):
            self._scan(store, status, status.root)

    def _scan(self, store: Store, status: RootStatus, root: Root) -> None:
        status.scans.requested = False
        started_s = time.monotonic()
        found = FoundFiles(store, root, status.watch.path, self._changes, self._settings.settle_seconds)
        result = scan_root(status.watch, root, store, found.add, self._beat_and_ask_stop)
        store.queue.report_gone(result.gone)
        store.commit()
        if result.offline_reason:
            self._set_offline(status, f"{status.watch.path}: {result.offline_reason}")
            return
        status.scans.last_s = time.monotonic()
        status.files, status.folders = result.files, result.folders
        status.problems.empty_reason = _empty_reason(store, status.watch.path, result)
        _log.info(
            "scanned",
            path=str(status.watch.path),
            files=result.files,
            new_or_changed=found.queued + found.settling,
            still_settling=found.settling or None,
            gone=len(result.gone),
            seconds=round(time.monotonic() - started_s, 2),
        )

    def _beat_and_ask_stop(self) -> bool:
        self.heartbeat.beat()
        return self._stopping.is_set()

    def _release_found(self, store: Store) -> bool:
        """Let what scans found be judged. Returns False where the catalogue cannot be written."""
        try:
            store.queue.release_found()
            store.commit()
        except StorageError as error:
            store.rollback()
            _log.error("the queue cannot be written, trying again", why=str(error))
            return False
        self._work_arrived.set()
        return True

    def _check_watch_limit(self) -> None:
        """Report once if the kernel watches fewer folders than there are. Raises OSError."""
        online = [status for status in self.statuses.values() if status.watch.path in self._watcher.watched]
        folders = sum(status.folders if status.watch.recursive else 1 for status in online)
        watched = watched_folders()
        if watched >= folders or self._limit_reported:
            return
        self._limit_reported = True
        advice = limit_advice(folders, watched, watch_limit())
        for status in self.statuses.values():
            status.problems.limit_advice = advice
        _log.warning(advice)


def _empty_reason(store: Store, watched: Path, result: ScanResult) -> str:
    seen_before = 0 if result.files else store.files.ever_seen(watched)
    return f"empty now; seen here before: {pluralize(seen_before, 'file')}. Is it mounted?" if seen_before else ""
