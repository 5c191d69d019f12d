"""The recovery of a quarantine: completes or undoes every move and restore that a crash or fault interrupted.

It purges nothing. A file without a usable record is reported and not touched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from twinwatch.errors import QuarantineError
from twinwatch.fs import linux
from twinwatch.quarantine import proof, records
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.put_back import put_back
from twinwatch.quarantine.records import Journal, Record, RecordState


class Outcome(StrEnum):
    """What recovery did about one file. The values stand in the log."""

    QUARANTINED = "quarantined"  # the move is complete now
    ABORTED = "aborted"  # the move never happened, or had been undone already
    PUT_BACK = "put back"  # the move could not stand and was undone now
    RESTORED = "restored"  # the restore is complete now
    MISSING = "missing"  # somebody took the file out of the quarantine by hand
    STRAY = "stray"  # a file without a fitting record, not touched
    UNREADABLE = "unreadable"  # a record that cannot be interpreted, not touched
    FAILED = "failed"  # an error, given as the reason; try again


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did about one interrupted move or restore, or could not do."""

    id: str  # the record's, or the name of a file that has no record or is none
    outcome: Outcome
    reason: str = ""
    record: Record | None = None

    @property
    def needs_person(self) -> bool:
        """True where the root should only flag until a person has checked it."""
        return self.outcome in {Outcome.STRAY, Outcome.UNREADABLE, Outcome.FAILED}


def recover(dirs: QuarantineDirs, journal: Journal) -> list[Recovered]:
    """Settle every interrupted move and restore. The caller holds the lock. Raises OSError."""
    records.remove_temporaries(dirs.info)
    ids, others = records.list_ids(dirs.info)
    found = [Recovered(name, Outcome.UNREADABLE, "not the name of a record") for name in others]
    found += [recovered for record_id in ids if (recovered := _recover_one(dirs, record_id, journal))]
    strays = sorted(set(os.listdir(dirs.files)) - set(ids))  # noqa: PTH208 (a descriptor, not a path)
    return found + [Recovered(name, Outcome.STRAY, "a file without a record") for name in strays]


def _recover_one(dirs: QuarantineDirs, record_id: str, journal: Journal) -> Recovered | None:
    """Settle one record, and return None where there was nothing to settle. An error is the outcome of this file."""
    try:
        record = records.read(dirs.info, record_id)
    except QuarantineError as error:
        return Recovered(record_id, Outcome.UNREADABLE, str(error))
    except OSError as error:
        return Recovered(record_id, Outcome.FAILED, str(error))
    try:
        settled = _settle(dirs, record, journal)
    except (OSError, QuarantineError) as error:
        return Recovered(record_id, Outcome.FAILED, str(error), record)
    return settled and Recovered(record_id, settled[0], record=settled[1])


def _settle(dirs: QuarantineDirs, record: Record, journal: Journal) -> tuple[Outcome, Record] | None:
    """Bring the file and its record into a final state, and return the outcome and the new record."""
    is_here = linux.exists(dirs.files, record.id.encode())
    # Unless a restore was asked for, only an earlier recovery that was cut short records a path to go back to.
    is_going_back = record.restored_to is not None
    match record.state:
        case RecordState.INTENDED if not is_here:
            return Outcome.ABORTED, journal.advance(record, RecordState.ABORTED, record.restored_to)
        case RecordState.INTENDED if not is_going_back and proof.can_complete(dirs, record):
            return Outcome.QUARANTINED, journal.advance(record, RecordState.QUARANTINED)
        case RecordState.QUARANTINED if not is_here:
            # A fault may have had the move undone after the record of its end was written.
            went_back = is_going_back or proof.has_bytes(dirs.root, record.path, record.sha256)
            outcome = Outcome.ABORTED if went_back else Outcome.MISSING
            return outcome, journal.advance(record, RecordState.ABORTED, record.restored_to)
        case RecordState.QUARANTINED if not is_going_back and proof.is_intact(dirs, record):
            return None
        case RecordState.INTENDED | RecordState.QUARANTINED:
            path = _put_back(dirs, record, journal)
            return Outcome.PUT_BACK, journal.advance(record, RecordState.ABORTED, path)
        case RecordState.RESTORING:
            path = _put_back(dirs, record, journal) or record.restored_to
            return Outcome.RESTORED, journal.advance(record, RecordState.RESTORED, path)
        case RecordState.RESTORED | RecordState.ABORTED:
            return (Outcome.STRAY, record) if is_here else None


def _put_back(dirs: QuarantineDirs, record: Record, journal: Journal) -> bytes | None:
    """Put the file back with the planned path on record first. The state stays: it says what was interrupted."""
    return put_back(dirs, record, lambda planned: journal.advance(record, record.state, planned))
