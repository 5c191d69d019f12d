"""One file's way from the queue to its outcome: decode, embed, search, decide, apply.

`decide` is pure; `apply` is the only writer. It never watches folders and never prints.
"""

from twinwatch.judging.circuit_breaker import CircuitBreaker
from twinwatch.judging.pipeline import Pipeline
from twinwatch.judging.watched_root import WatchedRoot

__all__ = [
    "CircuitBreaker",
    "Pipeline",
    "WatchedRoot",
]
