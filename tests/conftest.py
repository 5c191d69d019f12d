"""Fixtures for all tests: a trained bundle and painted pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinwatch.bundle import locate


@pytest.fixture(scope="session")
def bundle() -> Path:
    """A trained bundle: the one that ships."""
    return locate("default")
