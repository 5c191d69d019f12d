"""What the tests do to a root, and what they find there."""

import contextlib
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from twinwatch.quarantine import Moved, MoveOrder, Quarantine

COPY, ORIGINAL, NEW = b"the copy " * 999, b"the original " * 999, b"something new " * 999
Between = Callable[[Callable[[], object]], None]


def order(root: Path, path: str = "sub/copy.jpg") -> MoveOrder:
    wanted: MoveOrder = driver.order_for(root, path, uuid.uuid4().hex)
    return wanted


def carry_out(root: Path, wanted: MoveOrder) -> Moved:
    with (root / os.fsdecode(wanted.original_path)).open("rb") as original:
        return Quarantine(root).move(wanted, original.fileno())


def quarantined(root: Path) -> list[Path]:
    return sorted((root / ".twinwatch/quarantine/files").iterdir())


def users_files(root: Path) -> dict[str, bytes]:
    found = [path for path in root.rglob("*") if path.is_file() and ".twinwatch" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def states(root: Path) -> list[str]:
    return [record.state for record in Quarantine(root).records()]


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)
