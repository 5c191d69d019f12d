"""The quarantine of a watched root: moves copies into it, restores them, and recovers after a crash.

It is the only package that touches users' files. It never deletes, replaces or writes to one. It knows no store: the
record of a move, on disk beside the file, is enough to restore the file.
"""

from twinwatch.quarantine.directories import touch_cookie
from twinwatch.quarantine.errors import (
    BusyError,
    ChangedError,
    NotMovableError,
    StorageFaultError,
    translate_errors,
)
from twinwatch.quarantine.move import Moved
from twinwatch.quarantine.quarantine import Quarantine
from twinwatch.quarantine.records import MoveOrder, Record, State
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
    "Recovered",
    "Restored",
    "State",
    "StorageFaultError",
    "touch_cookie",
    "translate_errors",
]
