"""The quarantine of a watched root: moves copies into it, restores them, and recovers after a crash.

It is the only package that touches users' files. It never deletes, replaces or writes to one. It knows no store: the
record of a move, on disk beside the file, is enough to restore the file.
"""

from twinwatch.quarantine.directories import quarantined_path, touch_cookie
from twinwatch.quarantine.errors import (
    BusyError,
    ChangedError,
    NotMovableError,
    StorageFaultError,
    translate_errors,
)
from twinwatch.quarantine.move import Moved
from twinwatch.quarantine.quarantine import Quarantine
from twinwatch.quarantine.records import MoveOrder, Record, RecordState
from twinwatch.quarantine.recover import Outcome, Recovered
from twinwatch.quarantine.restore import Restored

__all__ = [
    "BusyError",
    "ChangedError",
    "MoveOrder",
    "Moved",
    "NotMovableError",
    "Outcome",
    "Quarantine",
    "Record",
    "RecordState",
    "Recovered",
    "Restored",
    "StorageFaultError",
    "quarantined_path",
    "touch_cookie",
    "translate_errors",
]
