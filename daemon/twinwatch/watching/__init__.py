"""What is in the watched folders, and has it changed: events, scans, settling, the state of each root.

It never opens a picture, judges or moves one. It meets judging only in the store's queue.
"""

from twinwatch.watching.changes import ChangeQueue
from twinwatch.watching.enqueue import enqueue
from twinwatch.watching.events import EventWatcher
from twinwatch.watching.filters import PathFilter
from twinwatch.watching.ingest import Ingest
from twinwatch.watching.limits import watch_limit
from twinwatch.watching.mode import uses_events
from twinwatch.watching.monitor import RootMonitor
from twinwatch.watching.root_status import RootStatus
from twinwatch.watching.scan import ChangedFile, scan_root
from twinwatch.watching.settle import Settler

__all__ = [
    "ChangeQueue",
    "ChangedFile",
    "EventWatcher",
    "Ingest",
    "PathFilter",
    "RootMonitor",
    "RootStatus",
    "Settler",
    "enqueue",
    "scan_root",
    "uses_events",
    "watch_limit",
]
