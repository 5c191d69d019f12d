"""Putting files back from quarantine: announce it to a running daemon, move, record, log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.errors import CatalogError, QuarantineError, StorageError
from twinwatch.fs import join
from twinwatch.quarantine import Quarantine, Record
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.review.quarantined import QuarantinedFile
from twinwatch.review.recovery import record_restored
from twinwatch.store import RootOfflineError, Store, Verdict, VerdictState, open_store, resolve_root


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What became of one restore: where the file is now (absolute), or why it is still in quarantine.

    `note` says what could not be recorded about a file that is back.
    """

    id: str
    path: bytes
    error: str = ""
    already: bool = False
    note: str = ""


def restore_files(settings: Settings, files: Iterable[QuarantinedFile], store: Store | None) -> list[RestoreResult]:
    """Put files back, each by itself: whatever goes wrong with one is the result of that one.

    The quarantine's records are enough; `store` is None where the catalogue is lost.
    """
    return [_restore(settings, file, store) for file in files]


def open_store_if_sound(path: Path) -> Store | None:
    """Return the store, or None where the catalogue is missing, damaged or out of reach just now."""
    if not path.exists():
        return None
    try:
        return open_store(path)
    except (CatalogError, StorageError):
        return None


def log_now(settings: Settings, store: Store) -> str:
    """Write the lines that are due; return why that is left to the daemon, or an empty string."""
    try:
        log = DuplicatesLog(settings.duplicates_log)
        try:
            flush_outbox(store, log)
        finally:
            log.close()
    except OSError as error:
        return f"the duplicates log cannot be written, the daemon does it later: {error.strerror}"
    except StorageError as error:
        return f"not in the duplicates log: {error}"
    return ""


def _restore(settings: Settings, file: QuarantinedFile, store: Store | None) -> RestoreResult:
    if file.back or file.stuck:
        return RestoreResult(file.id, file.path, file.stuck, already=file.back)
    verdict, note = (None, "") if store is None else _announce(store, file)
    try:
        restored = Quarantine(file.root).restore(file.id)
    except QuarantineError as error:
        if store is not None and verdict is not None:
            note = _withdraw(store, verdict)
        return RestoreResult(file.id, file.path, str(error), note=note)
    if store is not None and verdict is not None:
        note = _record(settings, store, file.root, verdict, restored.record)
    return RestoreResult(file.id, join(file.root, restored.path), note=note)


def _announce(store: Store, file: QuarantinedFile) -> tuple[Verdict | None, str]:
    """Record that a file is about to go back, so that a running daemon does not move it again.

    Return its verdict, if the store has it, or why that could not be recorded.
    """
    try:
        verdict = store.verdicts.get(file.id)
        if verdict is not None:
            store.verdicts.set_state(verdict.id, VerdictState.RESTORING)
            store.commit()
    except StorageError as error:
        return None, _not_recorded(store, error)
    return verdict, ""


def _withdraw(store: Store, verdict: Verdict) -> str:
    try:
        store.verdicts.set_state(verdict.id, verdict.state)
        store.commit()
    except StorageError as error:
        return _not_recorded(store, error)
    return ""


def _record(settings: Settings, store: Store, path: Path, verdict: Verdict, record: Record) -> str:
    """Record and log that a file is back; return what of that was not possible, or an empty string."""
    try:
        root = resolve_root(path, store, time.time_ns(), starting=True)
        record_restored(store, path, root, verdict, record)
        store.commit()
    except RootOfflineError as error:
        store.rollback()
        return f"not yet noted in the catalogue: {error}"
    except StorageError as error:
        return _not_recorded(store, error)
    return log_now(settings, store)


def _not_recorded(store: Store, error: StorageError) -> str:
    store.rollback()
    return f"this could not be remembered, so a daemon that runs may move the file again: {error}"
