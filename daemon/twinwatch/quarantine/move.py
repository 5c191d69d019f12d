"""The move of a copy into the quarantine: record, check, rename, check again.

1. The record is on disk before the rename, so that after a crash it is enough to recover.
2. The copy and its original are read again before the rename, and checked again after it. If a check fails, the copy
   goes back.
3. Nothing is replaced, neither in the quarantine nor, when the copy goes back, at its path.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from twinwatch.errors import QuarantineError
from twinwatch.fs import FileIdentity, linux, open_beneath, open_folder, split
from twinwatch.quarantine import proof
from twinwatch.quarantine.directories import QuarantineDirs, quarantined_path
from twinwatch.quarantine.errors import ChangedError, StorageFaultError, translate_errors
from twinwatch.quarantine.put_back import put_back
from twinwatch.quarantine.records import Journal, MoveOrder, Record, RecordState
from twinwatch.wording import show_path


@dataclass(frozen=True, slots=True)
class Moved:
    """A finished move. `quarantined_to` is relative to the root."""

    record: Record
    quarantined_to: bytes


def move(dirs: QuarantineDirs, order: MoveOrder, original_fd: int, journal: Journal) -> Moved:
    """Move the file into the quarantine, durably. The caller holds the lock.

    Raises ChangedError, NotMovableError, QuarantineError, StorageFaultError, OSError.
    """
    with contextlib.ExitStack() as stack:
        with translate_errors(order.path):
            copy_fd = stack.enter_context(linux.closing(open_beneath(dirs.root, order.path)))
        proof.require_movable(dirs, order, copy_fd)
        _require_unused(dirs, order.id)
        status = os.fstat(copy_fd)
        copy = proof.lease(stack, order.path, order.sha256, copy_fd)
        original = proof.lease(stack, order.original_path, order.original_sha256, original_fd)
        # After a power cut, pages that were never written back would leave a record and no picture.
        os.fsync(copy_fd)
        os.fsync(original_fd)
        copy.require_bytes()
        record = journal.begin(order, status)
        try:
            proof.require_original(order, original, copy_fd)
            _rename_in(dirs, order)
            proof.require_moved(dirs, order, copy)
            proof.require_original(order, original, copy_fd)
            record = journal.advance(record, RecordState.QUARANTINED)
        except BaseException:
            _undo(dirs, record, journal)
            raise
        return Moved(record, quarantined_path(order.id))


def _require_unused(dirs: QuarantineDirs, record_id: str) -> None:
    for folder_fd, name in ((dirs.info, f"{record_id}.json"), (dirs.files, record_id)):
        if linux.exists(folder_fd, name.encode()):
            raise QuarantineError(f"{dirs.path}: the id {record_id} was used before")


def _rename_in(dirs: QuarantineDirs, order: MoveOrder) -> None:
    parent, name = split(order.path)
    with translate_errors(order.path), linux.closing(open_folder(dirs.root, parent)) as folder_fd:
        if FileIdentity.of(os.stat(name, dir_fd=folder_fd, follow_symlinks=False)) != order.identity:
            raise ChangedError(f"{show_path(order.path)} was replaced or changed since it was judged")
        dirs.rename_in(folder_fd, name, order.id)
        os.fsync(dirs.files)
        os.fsync(folder_fd)


def _undo(dirs: QuarantineDirs, record: Record, journal: Journal) -> None:
    # No record is written first, as the file must go back even where the disk is full. If this is cut short, `recover`
    # sees that the file has left the quarantine.
    try:
        path = put_back(dirs, record, announce=None)
    except QuarantineError as error:
        raise StorageFaultError(f"{dirs.path}: {error}") from error
    journal.advance(record, RecordState.ABORTED, path)
