"""A pool with one process, and a folder with files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinwatch.config import Limits
from twinwatch.workers import WorkerPool
from workers.samples import MEMORY_MB


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(Limits(workers=1, decode_seconds=60, decode_memory_mb=MEMORY_MB)) as pool:
        yield pool


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share
