"""Brings store and quarantine back into step after a crash, a restore by hand, or a rebuild.

The quarantine's own records are the truth; the store only remembers them.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from twinwatch.clock import utc_now
from twinwatch.fs import FileIdentity, join, stat_beneath
from twinwatch.quarantine import Quarantine, Record, RecordState, quarantined_path
from twinwatch.store import Action, FileState, Kind, Root, Store, Verdict, VerdictState
from twinwatch.wording import show_path

_log = structlog.get_logger("twinwatch")


def reconcile(quarantine: Quarantine, path: Path, root: Root, store: Store) -> None:
    """Finish what was cut short in one root. What only a person can settle opens the root's circuit breaker.

    Raises QuarantineError where the quarantine cannot be read, StorageError where the store cannot be written; the
    next call records what is missing then.
    """
    for recovered in quarantine.recover():
        record = recovered.record
        place = os.fsencode(path) if record is None else join(path, record.path)
        _log.warning(
            "recovered",
            path=show_path(place),
            id=recovered.id,
            outcome=str(recovered.outcome),
            why=recovered.reason or None,
        )
        if recovered.needs_person and root.tripped is None:
            reason = f"quarantine holds {recovered.id}: {recovered.outcome} {recovered.reason}".strip()
            store.roots.trip(root.id, reason, utc_now())
    records = {record.id: record for record in quarantine.records()}
    for verdict in store.verdicts.all(state=VerdictState.PENDING):
        if verdict.root == os.fsencode(path) and verdict.id not in records:
            _judge_again(store, verdict)
    store.commit()
    for record in records.values():
        _sync_record(store, path, root, record)
        store.commit()  # one by one: a disk that fills up takes back only the last


def record_restored(store: Store, path: Path, root: Root, verdict: Verdict, record: Record) -> None:
    """Record that a file was put back: it belongs where it is, and is not moved again for what it holds now."""
    if verdict.state in (VerdictState.RESTORED, VerdictState.DISMISSED):
        return
    restored_to = record.restored_to or record.path
    store.verdicts.mark_restored(verdict.id, restored_to, record.changed_at)
    seen = _stat(path, restored_to)
    if verdict.file_id is not None and seen is not None:
        # Queued, so that a running daemon takes it into its index again.
        store.files.place(verdict.file_id, root.id, restored_to, seen, FileState.RESTORED, queued=True)
    _log.info("restored", path=show_path(join(path, restored_to)), id=verdict.id)


def _sync_record(store: Store, path: Path, root: Root, record: Record) -> None:
    known = store.verdicts.get(record.id)
    if record.state == RecordState.QUARANTINED:
        _record_quarantined(store, path, record, known)
    elif known is None:
        return
    elif record.state == RecordState.RESTORED:
        record_restored(store, path, root, known, record)
    elif known.state is VerdictState.PENDING:
        _judge_again(store, known)
    elif record.state == RecordState.ABORTED and _is_quarantined(known):
        if record.restored_to is not None or _is_back(path, record):
            record_restored(store, path, root, known, record)
        else:
            _record_removed(store, path, known, record)


def _is_quarantined(verdict: Verdict) -> bool:
    return verdict.state is VerdictState.DONE and verdict.action is Action.QUARANTINED


def _is_back(path: Path, record: Record) -> bool:
    seen, was = _stat(path, record.path), record.identity
    # The device's number may have changed since.
    return seen is not None and (seen.inode, seen.size_bytes, seen.mtime_ns) == (
        was.inode,
        was.size_bytes,
        was.mtime_ns,
    )


def _stat(path: Path, relative: bytes) -> FileIdentity | None:
    """Return what is there. A path that cannot be looked at is left to the scan, which says why."""
    try:
        return stat_beneath(path, relative)
    except OSError:
        return None


def _record_removed(store: Store, path: Path, verdict: Verdict, record: Record) -> None:
    """Record that somebody took a file out of quarantine by hand; nobody keeps track of it from now on."""
    store.verdicts.mark_removed(verdict.id, record.changed_at)
    if verdict.file_id is not None:
        store.files.mark_gone(verdict.file_id)
    _log.warning(
        "taken out of quarantine by hand, not kept track of any more",
        path=show_path(join(path, record.path)),
        id=verdict.id,
    )


def _judge_again(store: Store, verdict: Verdict) -> None:
    store.verdicts.drop(verdict.id)
    file = None if verdict.file_id is None else store.files.get(verdict.file_id)
    # Where another file has the name by now, that one is judged instead.
    if file is not None and store.files.at(file.root_id, file.path) in (file, None):
        store.queue.rejudge(file.id)


def _record_quarantined(store: Store, path: Path, record: Record, verdict: Verdict | None) -> None:
    quarantined_to = quarantined_path(record.id)
    if verdict is None:
        store.verdicts.add(_verdict_of(record, path, quarantined_to))
    elif verdict.state in (VerdictState.PENDING, VerdictState.RESTORING):
        store.verdicts.mark_done(verdict.id, Action.QUARANTINED, quarantined_to)
        if verdict.file_id is not None:
            store.files.mark_quarantined(verdict.file_id)


def _verdict_of(record: Record, path: Path, quarantined_to: bytes) -> Verdict:
    return Verdict(
        id=record.id,
        file_id=None,
        time=record.intended_at,
        root=os.fsencode(path),
        path=record.path,
        sha256=record.sha256,
        original_root=os.fsencode(record.original_root),
        original_path=record.original_path,
        original_sha256=record.original_sha256,
        kind=Kind(record.kind),
        distance=record.distance,
        cluster=record.cluster,
        evidence=record.evidence,
        edit=record.edit,
        action=Action.QUARANTINED,
        better=False,
        quarantined_to=quarantined_to,
        state=VerdictState.DONE,
        logged=VerdictState.DONE,
    )
