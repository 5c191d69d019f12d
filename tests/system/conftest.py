"""Fixtures of the system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Site


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[Site]:
    """A share under quarantine; its daemon is ended with the test."""
    made = Site(tmp_path, bundle)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()
