"""Moves copies into quarantine, puts them back, and settles what a crash left half done.

It is the only package that touches users' files. It never deletes, replaces or writes to one, and it knows no store:
each file's record on disk is enough to restore it.
"""

from twinwatch.quarantine.directories import BusyError, stir
from twinwatch.quarantine.proof import ChangedError, refusals
from twinwatch.quarantine.quarantine import Moved, Quarantine, StorageFaultError
from twinwatch.quarantine.records import MoveOrder, Record

__all__ = [
    "BusyError",
    "ChangedError",
    "MoveOrder",
    "Moved",
    "Quarantine",
    "Record",
    "StorageFaultError",
    "refusals",
    "stir",
]
