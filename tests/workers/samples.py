"""Pictures, files and tasks for the tests of decoder processes."""

import hashlib
import io
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paint import paint
from PIL import Image

from twinwatch.fs import folder_id
from twinwatch.workers import ExpectedFile, FileRef, InspectTask, WorkerPool

MEMORY_MB = 2048
SIZE = (32, 24)


def picture(seed: int, width: int = 320, height: int = 240) -> bytes:
    buffer = io.BytesIO()
    paint(seed, width, height).save(buffer, "PNG")
    return buffer.getvalue()


def recompressed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def place(share: Path, name: str) -> FileRef:
    return FileRef(share, folder_id(share), os.fsencode(name))


def expected(share: Path, name: str, data: bytes) -> ExpectedFile:
    """Write a file, and return it as one to compare."""
    (share / name).write_bytes(data)
    return ExpectedFile(place(share, name), sha256(data))


def inspect_task(share: Path, name: str, known: frozenset[str] = frozenset(), max_bytes: int = 10**7) -> InspectTask:
    return InspectTask(place(share, name), known, SIZE, max_bytes, 300)


def call(pool: WorkerPool, code: str, **names: object) -> Any:
    """Evaluate an expression in a process of the pool; builtins can be sent there whatever the tests are called."""
    task = SimpleNamespace(run=partial(eval, code, {"os": None} | names))
    return pool.inspect(task).result(60)  # type: ignore[arg-type]
