"""The one-off scan: one pass over folders without a daemon, for `twinwatch scan`. It flags only, and moves nothing."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twinwatch.config import Watch
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.fs import folder_id
from twinwatch.judging import Engine, Pipeline, WatchedRoots
from twinwatch.service.state import StateFolder
from twinwatch.signals import sigint_ignored
from twinwatch.store import (
    QueueState,
    Root,
    RootOfflineError,
    Store,
    UnreadableFile,
    Verdict,
    open_store,
    resolve_root,
)
from twinwatch.watching import ChangedFile, enqueue, scan_root

_WAIT_S = 0.1
_ONLINE_CHECK_S = 1.0
_PROGRESS_EVERY = 1000

Progress = Callable[[int, int], None]
"""Called with how many files were judged so far, and how many are to be judged as far as is known."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a one-off scan found."""

    files: int
    judged: int
    copies: list[Verdict]  # in order of discovery
    unreadable: list[UnreadableFile]
    changed: list[bytes]  # paths, relative to their roots, of files that changed while they were read
    seconds: float


def distinct(folders: list[Path]) -> list[Path]:
    """Return folders with their links resolved. Raises ConfigError for what is no folder, or lies in another one."""
    resolved: list[Path] = []
    for folder in folders:
        path = Path(os.path.realpath(folder))
        if not path.is_dir():
            raise ConfigError(f"{folder}: {'not a folder' if path.exists() else 'no such folder'}")
        if any(path.is_relative_to(other) or other.is_relative_to(path) for other in resolved):
            raise ConfigError(f"{folder} overlaps another folder given; name each folder once")
        resolved.append(path)
    return resolved


@contextmanager
def catalogue_for(folders: list[Path], state: Path | None) -> Iterator[Path]:
    """Yield the path of a catalogue: in the folder `state`, locked meanwhile, or a temporary one where that is None."""
    if state is None:
        with tempfile.TemporaryDirectory(prefix="twinwatch-") as temporary:
            yield Path(temporary, "catalog.db")
        return
    path = Path(os.path.realpath(state))
    if any(path.is_relative_to(folder) for folder in folders):
        raise ConfigError(f"--state {state} lies inside a folder to scan; choose another place")
    state_folder = StateFolder(path)
    with state_folder.lock():
        yield state_folder.catalog_path


def scan_folders(folders: list[Path], store_path: Path, engine: Engine, progress: Progress) -> ScanReport:
    """Judge every picture in `folders`, the oldest first. The engine's workers are closed in the end.

    Raises ConfigError, StorageError, and TwinwatchError where a folder goes away meanwhile.
    """
    started_s = time.monotonic()
    store = open_store(store_path)
    found = _FoundFiles(store, progress)
    roots = [_queue_folder(folder, store, found) for folder in folders]
    root_ids = [root.id for root in roots]
    store.queue.take_to_settle(root_ids)  # left by a scan that was cut short; this one has looked at them
    store.queue.release_found()
    store.commit()
    to_judge = store.queue.count()
    attached = WatchedRoots()
    for folder, root in zip(folders, roots, strict=True):
        attached.attach(Watch(path=folder), root, None, "")
    pipeline = Pipeline(store_path, engine, attached, None, threading.Event())
    try:
        _wait_until_judged(pipeline, store, roots, lambda: progress(pipeline.judged, to_judge))
    finally:
        with sigint_ignored():
            engine.workers.close()
            pipeline.stop()
    report = ScanReport(
        files=found.files,
        judged=pipeline.judged,
        copies=store.verdicts.active(root_ids),
        unreadable=store.files.unreadable(root_ids),
        changed=[path for _, path in store.queue.take_to_settle(root_ids)],
        seconds=time.monotonic() - started_s,
    )
    store.commit()
    store.close()
    return report


class _FoundFiles:
    """Counts and queues what the walks find, and shows how far they have come."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self.files = 0
        self._new = 0

    def add(self, root: Root, found: ChangedFile) -> None:
        enqueue(self._store, root, found.path, found.seen, QueueState.FOUND)
        self._new += 1
        if self._new % _PROGRESS_EVERY == 0:
            self._progress(0, self._new)


def _queue_folder(folder: Path, store: Store, found: _FoundFiles) -> Root:
    """Walk one folder and queue what is new or changed. Raises ConfigError where it is offline."""
    try:
        root = resolve_root(folder, store, time.time_ns(), starting=True)
    except RootOfflineError as error:
        raise ConfigError(str(error)) from None
    result = scan_root(Watch(path=folder), root, store, lambda file: found.add(root, file), lambda: False)
    if result.offline_reason:
        raise ConfigError(f"{folder}: {result.offline_reason}")
    for file in result.gone:
        store.files.mark_gone(file.id)
    store.commit()
    found.files += result.files
    return root


def _wait_until_judged(pipeline: Pipeline, store: Store, roots: list[Root], show_progress: Callable[[], None]) -> None:
    """Return once nothing is left to judge. Raises what `_require_online` raises, and what ended a thread."""
    checked_s = time.monotonic()
    while True:
        if time.monotonic() - checked_s > _ONLINE_CHECK_S:
            _require_online(store, roots)
            checked_s = time.monotonic()
        show_progress()
        if pipeline.idle() and not store.queue.count():
            return
        pipeline.raise_if_unhealthy()
        time.sleep(_WAIT_S)


def _require_online(store: Store, roots: list[Root]) -> None:
    """Raises where the pipeline, made for a daemon, would wait without end: a root is gone, or a disk is full."""
    for root in roots:
        path = _path_of(root)
        try:
            online = folder_id(path) == root.folder
        except OSError:
            online = False
        if not online:
            raise TwinwatchError(f"{path} went away while it was looked at; bring it back, scan again")
        store.roots.resume(root.id)  # changes nothing here, but shows whether the catalogue can be written
    store.commit()


def _path_of(root: Root) -> Path:
    return Path(os.fsdecode(root.path))
