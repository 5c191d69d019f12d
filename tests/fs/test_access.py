"""Whether a folder can be watched by this user, and why not."""

import os
from pathlib import Path

import pytest

from twinwatch.fs import why_unusable


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


def test_a_folder_that_is_there_has_no_obstacle(share: Path) -> None:
    assert why_unusable(share) == ""


def test_an_obstacle_says_what_to_do(tmp_path: Path, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert why_unusable(tmp_path / "none").startswith(f"no such folder: {tmp_path / 'none'}; create it, mount it")
    assert why_unusable(tmp_path / "file") == f"not a folder: {tmp_path / 'file'}"
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as for a user that is not root
    assert "cannot be read by the user" in why_unusable(share)
