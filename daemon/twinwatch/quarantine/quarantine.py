"""The quarantine of one watched root, as the rest of twinwatch sees it.

What every operation promises:

1. The record of a move or restore is on disk before the file is renamed.
2. A copy moves only if, at that moment, its bytes are the judged ones and its original is in place with the judged
   bytes: both are read again.
3. Nothing is replaced, deleted or written to, neither in the quarantine nor among the user's files.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from twinwatch.clock import utc_now
from twinwatch.errors import QuarantineError
from twinwatch.quarantine import directories, records
from twinwatch.quarantine.directories import QuarantineDirs
from twinwatch.quarantine.errors import StorageFaultError, storage_faults
from twinwatch.quarantine.move import Moved, move
from twinwatch.quarantine.records import Journal, MoveOrder, Record
from twinwatch.quarantine.recover import Recovered, recover
from twinwatch.quarantine.restore import Restored, restore
from twinwatch.wording import show_path, user_name

_NO_RIGHTS = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}


class Quarantine:
    """The quarantine of one watched root. Moves, restores and recovery hold its lock, across processes and threads.

    `now` returns the time as RFC 3339.
    """

    def __init__(self, root: Path, now: Callable[[], str] = utc_now) -> None:
        self._root = root
        self._now = now
        self._no_replace: bool | None = None  # whether rename can refuse to replace; unknown until it was tried

    def prepare(self) -> None:
        """Create the quarantine's directories and try them. Raises QuarantineError that says what to do."""
        with storage_faults(self._root, "preparing the quarantine"):
            try:
                directories.create(self._root)
                with self._locked():
                    pass
            except OSError as error:
                if error.errno not in _NO_RIGHTS:
                    raise
                raise QuarantineError(
                    f"{self._root}: cannot have a quarantine here ({error.strerror}): let the user "
                    f"{user_name()} write to it (under systemd: ReadWritePaths={self._root}), or use `action: flag`"
                ) from error

    def move(self, order: MoveOrder, original_fd: int) -> Moved:
        """Move the file into the quarantine. When this returns, file and record are on disk.

        `original_fd` is the original, opened read-only and decoded by the caller. Raises ChangedError, NotMovableError,
        BusyError, StorageFaultError or QuarantineError. The file is then at its own path; or it is in quarantine where
        a fault kept it from going back, and `recover` will settle it.
        """
        records.check_id(order.id)
        records.check_path(order.path)
        records.check_path(order.original_path)
        with storage_faults(self._root, f"moving {show_path(order.path)}"), self._locked() as dirs:
            return move(dirs, order, original_fd, self._journal(dirs))

    def restore(self, record_id: str) -> Restored:
        """Put a quarantined file back to its path, or as `stem.restored-N.suffix` where that name is taken.

        Missing parent folders are created with the owner and mode of the folder above. Raises QuarantineError,
        BusyError, StorageFaultError.
        """
        records.check_id(record_id)
        with storage_faults(self._root, f"restoring {record_id}"), self._locked() as dirs:
            return restore(dirs, record_id, self._journal(dirs))

    def recover(self) -> list[Recovered]:
        """Complete or undo every move and restore that a crash or fault interrupted. A second call finds none.

        What it must not touch is reported by every call. An error with one file is that file's outcome and does not
        stop the others. Raises BusyError, StorageFaultError.
        """
        with storage_faults(self._root, "recovering"), self._locked() as dirs:
            return recover(dirs, self._journal(dirs))

    def records(self) -> Iterator[Record]:
        """Yield the records in order of id, without the lock. Unreadable ones are left out: `recover` reports them.

        Raises QuarantineError, StorageFaultError.
        """
        with storage_faults(self._root, "reading the records"), contextlib.ExitStack() as stack:
            try:
                dirs = stack.enter_context(directories.open_dirs(self._root))
            except FileNotFoundError:
                return  # never prepared
            for record_id in records.list_ids(dirs.info)[0]:
                try:
                    record = records.read(dirs.info, record_id)
                except (OSError, QuarantineError):
                    continue
                yield record

    @contextlib.contextmanager
    def _locked(self) -> Iterator[QuarantineDirs]:
        with contextlib.ExitStack() as stack:
            try:
                dirs = stack.enter_context(directories.lock_dirs(self._root, no_replace=self._no_replace))
            except FileNotFoundError as error:
                raise StorageFaultError(f"{self._root}: no quarantine here: is it still mounted?") from error
            self._no_replace = dirs.no_replace
            yield dirs

    def _journal(self, dirs: QuarantineDirs) -> Journal:
        return Journal(dirs.info, self._now)
