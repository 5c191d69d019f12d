"""The restore of a quarantined file, as a person asked: back to its path, replacing nothing."""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.errors import QuarantineError
from twinwatch.quarantine import records
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.put_back import put_back
from twinwatch.quarantine.records import Journal, Record, RecordState
from twinwatch.wording import show_path


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore. `path` is relative to the root; it differs from `record.path` where that name was taken."""

    record: Record
    path: bytes


def restore(dirs: QuarantineDirs, record_id: str, journal: Journal) -> Restored:
    """Put the file back, durably. The caller holds the lock.

    The planned path is on record before the rename. Raises QuarantineError, OSError.
    """
    try:
        record = records.read(dirs.info, record_id)
    except FileNotFoundError as error:
        raise QuarantineError(f"{dirs.path}: nothing with id {record_id} in quarantine") from error
    try:
        path = put_back(dirs, record, lambda planned: journal.advance(record, RecordState.RESTORING, planned))
    except QuarantineError:
        # Something is in the way, but nothing is broken. The file has not moved; with its old state on record, the next
        # recovery does not put it back unasked.
        journal.advance(record, record.state, record.restored_to)
        raise
    if path is None and record.state != RecordState.RESTORING:
        raise QuarantineError(f"{show_path(record.path)} is not in quarantine any more: {_whereabouts(record)}")
    path = path or record.restored_to or record.path
    return Restored(journal.advance(record, RecordState.RESTORED, path), path)


def _whereabouts(record: Record) -> str:
    if record.state == RecordState.QUARANTINED:
        return "somebody took it out by hand, which the daemon will note when it starts next"
    went = f" to {show_path(record.restored_to)}" if record.restored_to else ""
    return f"{record.state}{went}"
