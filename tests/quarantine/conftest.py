"""A root with a copy and its original, and ways to have something happen during a move."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from quarantine.actions import COPY, ORIGINAL, Between
from twinwatch.fs import linux
from twinwatch.quarantine import Quarantine, directories


@pytest.fixture(params=["native", "fallback"], autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test on a file system that can rename without replacing, and as if on one that cannot."""
    if request.param == "fallback":
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "original.jpg").write_bytes(ORIGINAL)
    (root / "sub" / "copy.jpg").write_bytes(COPY)
    Quarantine(root).prepare()
    return root


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    """Return a way to have something happen after the last check of the name and before the rename."""

    def install(happen: Callable[[], object]) -> None:
        rename_in = directories.QuarantineDirs.rename_in

        def after(dirs: directories.QuarantineDirs, folder_fd: int, name: bytes, record_id: str) -> None:
            happen()
            rename_in(dirs, folder_fd, name, record_id)

        monkeypatch.setattr(directories.QuarantineDirs, "rename_in", after)

    return install


@pytest.fixture
def never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a file leaves its name even for a moment."""
    monkeypatch.setattr(directories.QuarantineDirs, "rename_in", lambda *_: pytest.fail("the file was moved"))
