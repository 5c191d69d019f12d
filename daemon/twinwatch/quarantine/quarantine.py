"""Moves copies into quarantine, puts them back, and settles what a crash left half done.

The only module that renames users' files. It never deletes, replaces or writes to one, and it never moves a file
unless the bytes that were judged, and a living original with the bytes it was judged by, are there at that moment.
Each file's record on disk is enough to restore it; nothing here needs the catalogue.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from twinwatch.errors import QuarantineError
from twinwatch.fs import FileIdentity, linux, open_beneath, open_folder, split
from twinwatch.quarantine import directories, proof, records
from twinwatch.quarantine.directories import BusyError, QuarantineDirs
from twinwatch.quarantine.proof import ChangedError, NotMovableError, refusals
from twinwatch.quarantine.put_back import put_back
from twinwatch.quarantine.records import MoveOrder, Record, State
from twinwatch.wording import show_path, user_name

__all__ = [
    "BusyError",
    "ChangedError",
    "MoveOrder",
    "Moved",
    "NotMovableError",
    "Outcome",
    "Quarantine",
    "Record",
    "Recovered",
    "Restored",
    "State",
    "StorageFaultError",
]

Outcome = Literal["quarantined", "aborted", "put back", "restored", "missing", "stray", "unreadable", "failed"]

_NO_RIGHTS = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}


class StorageFaultError(QuarantineError):
    """The storage failed: stop moving files beneath this root until a person has looked."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A finished move; `quarantined_to` is relative to the root."""

    record: Record
    quarantined_to: bytes


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore; `path` is relative to the root and differs from `record.path` where that was taken."""

    record: Record
    path: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did about one move that was not finished, or could not do.

    quarantined: the move is finished. aborted: it never happened, or had been undone. put back: it was undone now,
    as it could not stand. restored: a restore is finished. missing: somebody took the file out of quarantine. stray: a
    file without a fitting record, untouched. unreadable: a record that cannot be interpreted, untouched. failed: try
    again, `reason` tells.
    """

    id: str  # or the name of the file that is no record
    outcome: Outcome
    reason: str = ""
    record: Record | None = None

    @property
    def needs_person(self) -> bool:
        """True where the root should only flag until somebody has looked."""
        return self.outcome in {"stray", "unreadable", "failed"}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Quarantine:
    """The quarantine of one watched root; every operation holds the root's lock, across processes and threads."""

    def __init__(self, root: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._root = root
        self._now = now
        self._no_replace: bool | None = None  # unknown until it was tried

    def prepare(self) -> None:
        """Create the private folders and try them. Raises QuarantineError that says what to do."""
        with self._faults("preparing the quarantine"):
            try:
                directories.make(self._root)
                with self._operation():
                    pass
            except OSError as error:
                if error.errno not in _NO_RIGHTS:
                    raise
                raise QuarantineError(
                    f"{self._root}: cannot have a quarantine here ({error.strerror}): let the user "
                    f"{user_name()} write to it (under systemd: ReadWritePaths={self._root}), or use `action: flag`"
                ) from error

    def move(self, order: MoveOrder, original_fd: int) -> Moved:
        """Move the file into quarantine; when it returns, file and record are on disk.

        `original_fd` is the original, opened read-only and decoded by the caller; its bytes and name are proven here,
        before and after. Raises ChangedError, NotMovableError, BusyError, StorageFaultError; then the file is
        at its own path, or where a fault kept it from going back, in quarantine for `recover` to settle.
        """
        records.check_id(order.id)
        records.check_path(order.path)
        records.check_path(order.original_path)
        doing = f"moving {show_path(order.path)}"
        with self._faults(doing), self._operation() as folders, contextlib.ExitStack() as stack:
            with refusals(order.path):
                copy_fd = stack.enter_context(linux.closing(open_beneath(folders.root, order.path)))
            proof.require_movable(folders, order, copy_fd)
            self._require_unused(folders, order.id)
            status = os.fstat(copy_fd)
            copy = proof.pin(stack, order.path, order.sha256, copy_fd)
            original = proof.pin(stack, order.original_path, order.original_sha256, original_fd)
            # Pages that were never written back would leave a record and no picture after a power cut.
            os.fsync(copy_fd)
            os.fsync(original_fd)
            copy.require_bytes()
            record = self._intend(folders, order, status)
            try:
                proof.require_original(order, original, copy_fd)
                self._take(folders, order)
                proof.require_taken(folders, order, copy)
                proof.require_original(order, original, copy_fd)
                record = self._write(folders, record, "quarantined")
            except BaseException:
                self._undo(folders, record)
                raise
            return Moved(record, directories.FILES + b"/" + order.id.encode())

    def restore(self, record_id: str) -> Restored:
        """Put a quarantined file back under its name, or as `stem.restored-N.suffix` where that is taken.

        It replaces nothing. Parent folders that vanished are made again, as their own parents are. Raises
        QuarantineError, BusyError, StorageFaultError.
        """
        records.check_id(record_id)
        with self._faults(f"restoring {record_id}"), self._operation() as folders:
            try:
                record = records.read(folders.info, record_id)
            except FileNotFoundError as error:
                raise QuarantineError(f"{self._root}: nothing with id {record_id} in quarantine") from error
            try:
                path = self._put_back(folders, record, "restoring")
            except QuarantineError:
                # In the way, not broken: the file is where it was, and must not go back unasked at the next start.
                self._write(folders, record, record.state, record.restored_to)
                raise
            if path is None and record.state != "restoring":
                went = f" to {show_path(record.restored_to)}" if record.restored_to else ""
                why = f"{record.state}{went}"
                if record.state == "quarantined":
                    why = "somebody took it out by hand, which the daemon will note when it starts next"
                raise QuarantineError(f"{show_path(record.path)} is not in quarantine any more: {why}")
            path = path or record.restored_to or record.path
            return Restored(self._write(folders, record, "restored", path), path)

    def recover(self) -> list[Recovered]:
        """Settle every move and restore that a crash or fault left half done; a second call finds nothing to settle.

        What it must not touch is named at every call. A fault with one file is that file's outcome, and the others
        are settled. Raises BusyError, StorageFaultError.
        """
        with self._faults("recovering"), self._operation() as folders:
            records.sweep(folders.info)
            ids, others = records.listed(folders.info)
            found = [Recovered(name, "unreadable", "not the name of a record") for name in others]
            found += [settled for record_id in ids if (settled := self._settle(folders, record_id))]
            strays = sorted(set(os.listdir(folders.files)) - set(ids))  # noqa: PTH208 (a descriptor, not a path)
            return found + [Recovered(name, "stray", "a file without a record") for name in strays]

    def records(self) -> Iterator[Record]:
        """Yield what the records say, in order of id; `recover` names those that cannot be read."""
        with self._faults("reading the records"), contextlib.ExitStack() as stack:
            try:
                folders = stack.enter_context(directories.opened(self._root))
            except FileNotFoundError:
                return  # never prepared
            for record_id in records.listed(folders.info)[0]:
                try:
                    record = records.read(folders.info, record_id)
                except (OSError, QuarantineError):
                    continue
                yield record

    @contextlib.contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFaultError(f"{self._root}: {doing} failed: {error}") from error

    @contextlib.contextmanager
    def _operation(self) -> Iterator[QuarantineDirs]:
        with contextlib.ExitStack() as stack:
            try:
                folders = stack.enter_context(directories.locked(self._root, no_replace=self._no_replace))
            except FileNotFoundError as error:
                raise StorageFaultError(f"{self._root}: no quarantine here: is it still mounted?") from error
            self._no_replace = folders.no_replace
            yield folders

    def _require_unused(self, folders: QuarantineDirs, record_id: str) -> None:
        for folder_fd, name in ((folders.info, f"{record_id}.json"), (folders.files, record_id)):
            if linux.exists(folder_fd, name.encode()):
                raise QuarantineError(f"{self._root}: the id {record_id} was used before")

    def _intend(self, folders: QuarantineDirs, order: MoveOrder, status: os.stat_result) -> Record:
        known = {field.name: getattr(order, field.name) for field in fields(MoveOrder)}
        now = self._stamp()
        record = Record(
            **known,
            uid=status.st_uid,
            gid=status.st_gid,
            mode=stat.S_IMODE(status.st_mode),
            atime_ns=status.st_atime_ns,
            state="intended",
            intended_at=now,
            changed_at=now,
            restored_to=None,
        )
        records.write(folders.info, record)
        return record

    def _write(self, folders: QuarantineDirs, record: Record, state: State, restored_to: bytes | None = None) -> Record:
        record = replace(record, state=state, restored_to=restored_to, changed_at=self._stamp())
        records.write(folders.info, record)
        return record

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _take(self, folders: QuarantineDirs, order: MoveOrder) -> None:
        parent, name = split(order.path)
        with refusals(order.path), linux.closing(open_folder(folders.root, parent)) as folder_fd:
            if FileIdentity.of(os.stat(name, dir_fd=folder_fd, follow_symlinks=False)) != order.identity:
                raise ChangedError(f"{show_path(order.path)} was replaced or changed since it was judged")
            folders.take_in(folder_fd, name, order.id)
            os.fsync(folders.files)
            os.fsync(folder_fd)

    def _undo(self, folders: QuarantineDirs, record: Record) -> None:
        # Without announcing it, as a full disk must not keep the file from going back: `recover` copes with that.
        try:
            path = put_back(folders, record, announce=None)
        except QuarantineError as error:
            raise StorageFaultError(f"{self._root}: {error}") from error
        self._write(folders, record, "aborted", path)

    def _put_back(self, folders: QuarantineDirs, record: Record, announced: State) -> bytes | None:
        return put_back(folders, record, lambda path: self._write(folders, record, announced, path))

    def _settle(self, folders: QuarantineDirs, record_id: str) -> Recovered | None:
        try:
            record = records.read(folders.info, record_id)
        except QuarantineError as error:
            return Recovered(record_id, "unreadable", str(error))
        except OSError as error:
            return Recovered(record_id, "failed", str(error))
        try:
            settled = self._settle_record(folders, record)
        except (OSError, QuarantineError) as error:
            return Recovered(record_id, "failed", str(error), record)
        return settled and Recovered(record_id, settled[0], record=settled[1])

    def _settle_record(self, folders: QuarantineDirs, record: Record) -> tuple[Outcome, Record] | None:
        is_here = linux.exists(folders.files, record.id.encode())
        # Only a recovery that was cut short says where a file went, or was to go, that nobody asked to restore.
        is_going_back = record.restored_to is not None
        match record.state:
            case "intended" if not is_here:
                return "aborted", self._write(folders, record, "aborted", record.restored_to)
            case "intended" if not is_going_back and proof.may_stand(folders, record):
                return "quarantined", self._write(folders, record, "quarantined")
            case "quarantined" if not is_here:
                # A fault may have undone the move after its last line was written.
                went_back = is_going_back or proof.has_bytes(folders.root, record.path, record.sha256)
                outcome: Outcome = "aborted" if went_back else "missing"
                return outcome, self._write(folders, record, "aborted", record.restored_to)
            case "quarantined" if not is_going_back and proof.still_stands(folders, record):
                return None
            case "intended" | "quarantined":
                path = self._put_back(folders, record, record.state)
                return "put back", self._write(folders, record, "aborted", path)
            case "restoring":
                path = self._put_back(folders, record, record.state) or record.restored_to
                return "restored", self._write(folders, record, "restored", path)
            case _:
                return ("stray", record) if is_here else None
