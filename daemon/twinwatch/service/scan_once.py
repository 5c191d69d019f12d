"""One pass over folders without a daemon: what `twinwatch scan` does. It flags only and moves nothing."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from twinwatch.config import Watch
from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch.fs import folder_id
from twinwatch.judging import Pipeline, WatchedRoot
from twinwatch.search import Bundle, Encoder
from twinwatch.service.state import StateFolder
from twinwatch.signals import sigint_ignored
from twinwatch.store import Catalog, Root, RootOfflineError, UnreadableFile, Verdict, resolve_root
from twinwatch.watching import ChangedFile, enqueue, scan_root
from twinwatch.workers import WorkerPool

_WAIT_S = 0.1
_PROBE_S = 1.0
_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a pass found: copies in order of discovery, files that could not be read, and how many were looked at."""

    files: int
    judged: int
    copies: list[Verdict]
    unreadable: list[UnreadableFile]
    changed: list[bytes]
    seconds: float


def distinct(folders: list[Path]) -> list[Path]:
    """Return folders with their links followed. Raises ConfigError for one that is none, or lies in another."""
    places: list[Path] = []
    for folder in folders:
        place = Path(os.path.realpath(folder))
        if not place.is_dir():
            raise ConfigError(f"{folder}: {'not a folder' if place.exists() else 'no such folder'}")
        if any(place.is_relative_to(other) or other.is_relative_to(place) for other in places):
            raise ConfigError(f"{folder} overlaps another folder given; name each folder once")
        places.append(place)
    return places


@contextmanager
def catalogue_for(places: list[Path], state: Path | None) -> Iterator[Path]:
    """Yield the path of a catalogue: in the folder `state`, held meanwhile, or one that is thrown away afterwards."""
    if state is None:
        with tempfile.TemporaryDirectory(prefix="twinwatch-") as folder:
            yield Path(folder, "catalog.db")
        return
    place = Path(os.path.realpath(state))
    if any(place.is_relative_to(folder) for folder in places):
        raise ConfigError(f"--state {state} lies inside a folder to scan; choose another place")
    kept = StateFolder(place)
    with kept.lock():
        yield kept.catalog_path


def scan_folders(
    folders: list[Path],
    catalog_path: Path,
    bundle: Bundle,
    encoder: Encoder,
    workers: WorkerPool,
    progress: Callable[[int, int], None],
) -> ScanReport:
    """Judge every picture in `folders`, the oldest first. `progress` is told (judged, to judge as far as is known).

    The workers are closed in the end.
    Raises ConfigError, StorageError, and TwinwatchError where a folder goes away meanwhile.
    """
    started_s = time.monotonic()
    catalog = Catalog(catalog_path)
    roots: list[Root] = []
    grounds: dict[int, WatchedRoot] = {}
    files = new = 0

    def report(root: Root, found: ChangedFile) -> None:
        nonlocal new
        enqueue(catalog, root, found.path, found.seen, "found")
        new += 1
        if new % _TELL_EVERY == 0:
            progress(0, new)

    for folder in folders:
        root, found = _walk(folder, catalog, report)
        roots.append(root)
        grounds[root.id] = WatchedRoot(folder, root.folder, protect=False)
        files += found
    catalog.release_found()
    catalog.commit()
    to_judge = catalog.waiting_count()
    changed: list[bytes] = []
    room = threading.Event()
    pipeline = Pipeline(
        catalog_path,
        bundle,
        encoder,
        workers,
        grounds,
        lambda _root, path: changed.append(path),
        None,
        room,
    )
    try:
        _drain(pipeline, catalog, room, roots, to_judge, progress)
    finally:
        with sigint_ignored():
            workers.close()
            pipeline.stop()
    result = ScanReport(
        files=files,
        judged=pipeline.judged,
        copies=catalog.cases.standing([root.id for root in roots]),
        unreadable=catalog.unreadable([root.id for root in roots]),
        changed=changed,
        seconds=time.monotonic() - started_s,
    )
    catalog.close()
    return result


def _walk(folder: Path, catalog: Catalog, report: Callable[[Root, ChangedFile], None]) -> tuple[Root, int]:
    try:
        root = resolve_root(folder, catalog, time.time_ns(), starting=True)
    except RootOfflineError as error:
        raise ConfigError(str(error)) from None
    result = scan_root(Watch(path=folder), root, catalog, partial(report, root), lambda: False)
    if result.away:
        raise ConfigError(f"{folder}: {result.away}")
    for file in result.gone:
        catalog.set_file(file.id, state="gone", queue=None)
    catalog.commit()
    return root, result.files


def _drain(
    pipeline: Pipeline,
    catalog: Catalog,
    room: threading.Event,
    roots: list[Root],
    to_judge: int,
    progress: Callable[[int, int], None],
) -> None:
    probed_s = time.monotonic()
    while True:
        if time.monotonic() - probed_s > _PROBE_S:
            _probe(catalog, roots)
            probed_s = time.monotonic()
        room.clear()
        handed = pipeline.feed(catalog)
        progress(pipeline.judged, to_judge)
        if not handed and pipeline.idle() and not catalog.waiting_count():
            return
        pipeline.raise_if_unhealthy()
        room.wait(_WAIT_S)


def _probe(catalog: Catalog, roots: list[Root]) -> None:
    """Raises where the pipeline, which is made for a daemon, would wait for better times without end."""
    for root in roots:
        try:
            still = folder_id(Path(os.fsdecode(root.path))) == root.folder
        except OSError:
            still = False
        if not still:
            raise TwinwatchError(
                f"{os.fsdecode(root.path)} went away while it was looked at; bring it back, scan again"
            )
        catalog.set_root(root.id, latched=None)  # says nothing new, but has to be written
    catalog.commit()
