"""One pass over folders without a daemon: what `twinwatch scan` does. It flags only and moves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twinwatch.bundle import Bundle
from twinwatch.catalog import Case, Catalog, Root
from twinwatch.config import Limits, Watch
from twinwatch.encoder import Encoder
from twinwatch.errors import ConfigError
from twinwatch.intake import enqueue
from twinwatch.judgement import Ground
from twinwatch.pipeline import Pipeline
from twinwatch.roots import AwayError, recognise
from twinwatch.scanner import Found, scan
from twinwatch.workers import Workers

_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is no readable picture, and why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pass found: copies in order of discovery, files that could not be read, and how many were looked at."""

    files: int
    judged: int
    copies: list[Case]
    unreadable: list[Refused]
    changed: list[bytes]
    seconds: float


def survey(
    folders: list[Path],
    catalog_path: Path,
    bundle: Bundle,
    encoder: Encoder,
    limits: Limits,
    progress: Callable[[int, int], None],
) -> Survey:
    """Judge every picture in `folders`, the oldest first. `progress` is told (judged, to judge). Raises ConfigError."""
    started_s = time.monotonic()
    catalog = Catalog(catalog_path)
    roots: list[Root] = []
    grounds: dict[int, Ground] = {}
    files = 0
    for folder in folders:
        root, found = _walk(folder, catalog)
        roots.append(root)
        grounds[root.id] = Ground(folder, root.folder, protect=False)
        files += found
    catalog.release_found()
    catalog.commit()
    to_judge = catalog.waiting_count()
    changed: list[bytes] = []
    workers = Workers(limits)
    room = threading.Event()
    pipeline = Pipeline(
        catalog_path, bundle, encoder, workers, limits, grounds, lambda _root, path: changed.append(path), None, room
    )
    try:
        _drain(pipeline, catalog, room, to_judge, progress)
    finally:
        workers.close()
        pipeline.stop()
    result = Survey(
        files=files,
        judged=pipeline.judged,
        copies=catalog.standing_cases([root.id for root in roots]),
        unreadable=[Refused(*item) for item in catalog.unreadable([root.id for root in roots])],
        changed=changed,
        seconds=time.monotonic() - started_s,
    )
    catalog.close()
    return result


def _walk(folder: Path, catalog: Catalog) -> tuple[Root, int]:
    try:
        root = recognise(folder, catalog, time.time_ns(), starting=True)
    except AwayError as error:
        raise ConfigError(str(error)) from None

    def report(found: Found) -> None:
        enqueue(catalog, root, found.path, found.seen, "found")

    result = scan(Watch(path=folder), root, catalog, report, threading.Event().is_set)
    if result.away:
        raise ConfigError(f"{folder}: {result.away}")
    for file in result.gone:
        catalog.set_file(file.id, state="gone", queue=None)
    catalog.commit()
    return root, result.files


def _drain(
    pipeline: Pipeline, catalog: Catalog, room: threading.Event, to_judge: int, progress: Callable[[int, int], None]
) -> None:
    while True:
        room.clear()
        handed = pipeline.feed(catalog)
        progress(pipeline.judged, to_judge)
        if not handed and pipeline.idle() and not catalog.waiting_count():
            return
        if not pipeline.alive():
            raise RuntimeError("a thread of the pipeline ended early")
        room.wait(_WAIT_S)
