"""The errors of the quarantine, and how the errors of the system become them.

An error says why a file stays where it is, or that the storage failed. None of them means that a file was lost.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from twinwatch.errors import QuarantineError, UnreadableError
from twinwatch.wording import show_path

_VANISHED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_REFUSED = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EBUSY}


class BusyError(QuarantineError):
    """Another process has held the quarantine's lock for too long. Nothing was touched; try again later."""


class ChangedError(QuarantineError):
    """The copy or its original changed since the verdict, or is being written. The copy stays; judge it again."""


class NotMovableError(QuarantineError):
    """The file can never be moved from where it is. It stays; flag it instead."""


class StorageFaultError(QuarantineError):
    """The storage failed. Move nothing more beneath this root until a person has checked it."""


@contextlib.contextmanager
def translate_errors(path: bytes) -> Iterator[None]:
    """Turn errors that a user's change or missing rights explain into ChangedError and NotMovableError.

    `path` is the file that the message names. Every other OSError passes unchanged: it is a fault of the storage.
    """
    try:
        yield
    except UnreadableError as error:
        raise ChangedError(f"{show_path(path)}: {error}") from error
    except OSError as error:
        if error.errno in _VANISHED:
            raise ChangedError(f"{show_path(path)} is not there any more") from error
        if error.errno in _REFUSED:
            raise NotMovableError(f"nothing can be moved because of {show_path(path)}: {error.strerror}") from error
        raise


@contextlib.contextmanager
def storage_faults(root: Path, doing: str) -> Iterator[None]:
    """Turn every OSError into a StorageFaultError whose message names the root and what was being done."""
    try:
        yield
    except OSError as error:
        raise StorageFaultError(f"{root}: {doing} failed: {error}") from error
