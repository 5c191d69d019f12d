"""Fixtures for the tests of search."""

import pytest

from twinwatch.search import blocks, exact

pytest.register_assert_rewrite("search.contract")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few members fill blocks and batches, as many do otherwise."""
    monkeypatch.setattr(blocks, "_MIN_BLOCK_ROWS", 8)
    monkeypatch.setattr(blocks, "_MAX_BLOCK_ROWS", 64)
    monkeypatch.setattr(exact, "_SPARE_ROWS", 8)
    monkeypatch.setattr(exact, "_ENCODE_BATCH", 16)
    monkeypatch.setattr(exact, "_SAMPLED_SCORES", 32)
