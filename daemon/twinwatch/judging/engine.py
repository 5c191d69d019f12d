"""What pictures are recognised with."""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.search import Bundle, Encoder
from twinwatch.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class Engine:
    """The trained bundle, the encoder made from it, and the worker processes that decode and compare."""

    bundle: Bundle
    encoder: Encoder
    workers: WorkerPool
