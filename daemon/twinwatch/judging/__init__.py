"""One file's way from the queue to its outcome: decode, embed, search, decide, apply.

`decide` is pure; `apply` is the only writer. It never watches folders and never prints.
"""

from twinwatch.judging.engine import Engine
from twinwatch.judging.pipeline import Pipeline
from twinwatch.judging.watched_root import WatchedRoots

__all__ = ["Engine", "Pipeline", "WatchedRoots"]
