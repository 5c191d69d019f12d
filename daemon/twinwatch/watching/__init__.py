"""What is in the watched folders, and has it changed: events, scans, settling, the state of each root.

It never opens a picture, judges or moves one. It meets judging only in the store's queue.
"""

from twinwatch.watching.events import ChangeQueue, EventWatcher, watch_limit
from twinwatch.watching.ingest import Ingest, RootPath, enqueue
from twinwatch.watching.monitor import RootMonitor, uses_events
from twinwatch.watching.scan import ChangedFile, PathFilter, scan_root
from twinwatch.watching.settle import Settler

__all__ = [
    "ChangeQueue",
    "ChangedFile",
    "EventWatcher",
    "Ingest",
    "PathFilter",
    "RootMonitor",
    "RootPath",
    "Settler",
    "enqueue",
    "scan_root",
    "uses_events",
    "watch_limit",
]
