"""The files that are, or were, in quarantine, as people see them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.fs import join, why_unusable
from twinwatch.quarantine import Quarantine, Record, RecordState
from twinwatch.store import Store

_MOVED = (RecordState.QUARANTINED, RecordState.RESTORING, RecordState.RESTORED)


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file that is, or was, in quarantine.

    `path` is where it belongs or, once it is `back`, where it went: absolute. `stuck` says why it cannot be put back
    now.
    """

    root: Path
    id: str
    path: bytes
    moved_at: str
    back: bool = False
    stuck: str = ""


def quarantined_files(settings: Settings, store: Store | None) -> list[QuarantinedFile]:
    """Return all files that are, or were, in quarantine, by when they were moved.

    The quarantine's own records are read, and for a folder that is offline the store, unless it is None. Raises
    QuarantineError.
    """
    found, seen = [], set[str]()
    for watch in settings.watch:
        records = [] if why_unusable(watch.path) else list(Quarantine(watch.path).records())
        seen.update(record.id for record in records)
        found += [_from_record(watch.path, record) for record in records if record.state in _MOVED]
    for verdict in [] if store is None else store.verdicts.quarantined():
        if verdict.id not in seen:
            root = Path(os.fsdecode(verdict.root))
            path = join(verdict.root, verdict.path)
            found.append(QuarantinedFile(root, verdict.id, path, verdict.time, stuck=_why_stuck(settings, root)))
    return sorted(found, key=lambda file: (file.moved_at, file.id))


def moved_since(files: Iterable[QuarantinedFile], earliest: str = "") -> list[QuarantinedFile]:
    """Return the files that are still in quarantine and came there since an RFC 3339 time in UTC."""
    return [file for file in files if not file.back and file.moved_at >= earliest]


def _from_record(root: Path, record: Record) -> QuarantinedFile:
    back = record.state == RecordState.RESTORED
    path = (record.restored_to or record.path) if back else record.path
    return QuarantinedFile(root, record.id, join(root, path), record.intended_at, back)


def _why_stuck(settings: Settings, root: Path) -> str:
    if root not in [watch.path for watch in settings.watch]:
        return f"{root} is no longer watched; watch it again to restore from it"
    if why_unusable(root):
        return f"{root} is away; bring it back, then restore the file"
    return f"the quarantine of {root} does not hold it; is the right folder mounted there?"
