"""Brings catalogue and quarantine back into step after a crash, a restore by hand, or a rebuild.

The quarantine's own records are the truth; the catalogue only remembers them.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from twinwatch.clock import utc_now
from twinwatch.fs import FileIdentity, stat_beneath
from twinwatch.quarantine import Quarantine, Record
from twinwatch.store import Catalog, Root, Verdict
from twinwatch.wording import show_path

_log = structlog.get_logger("twinwatch")


def reconcile(quarantine: Quarantine, path: Path, root: Root, catalog: Catalog) -> None:
    """Finish what was cut short in one root. What only a person can settle latches the root to flag-only.

    Raises QuarantineError where the quarantine cannot be read, StorageError where the catalogue cannot be written: what
    was not noted then is noted by the next call.
    """
    for settled in quarantine.recover():
        record = settled.record
        place = os.fsencode(path) if record is None else os.path.join(os.fsencode(path), record.path)
        _log.warning(
            "recovered", path=show_path(place), id=settled.id, outcome=settled.outcome, why=settled.reason or None
        )
        if settled.needs_person and root.latched is None:
            reason = f"quarantine holds {settled.id}: {settled.outcome} {settled.reason}".strip()
            catalog.set_root(root.id, latched=reason, latched_at=utc_now())
    records = {record.id: record for record in quarantine.records()}
    for case in catalog.cases.all(state="pending"):
        if case.root == os.fsencode(path) and case.id not in records:
            _rejudge(catalog, case)
    catalog.commit()
    for record in records.values():
        _bring_into_step(catalog, path, root, record)
        catalog.commit()  # so that a disk that fills on the way costs nothing that was done before


def record_restored(catalog: Catalog, path: Path, root: Root, case: Verdict, record: Record) -> None:
    """Remember that a file was put back: it belongs where it is, and is not moved again for what it holds now."""
    if case.state in ("restored", "dismissed"):
        return
    restored_to = record.restored_to or record.path
    catalog.cases.set(
        case.id, state="restored", action="quarantined", restored_to=restored_to, event_at=record.changed_at
    )
    seen = _seen(path, restored_to)
    if case.file_id is not None and seen is not None:
        # Queued, so that a running daemon takes it into its index again.
        catalog.place_file(case.file_id, root.id, restored_to, seen, state="restored", queue="waiting")
    _log.info("restored", path=show_path(os.fsencode(path) + b"/" + restored_to), id=case.id)


def _bring_into_step(catalog: Catalog, path: Path, root: Root, record: Record) -> None:
    known = catalog.cases.get(record.id)
    if record.state == "quarantined":
        _take_in(catalog, path, record, known)
    elif known is None:
        return
    elif record.state == "restored":
        record_restored(catalog, path, root, known, record)
    elif known.state == "pending":
        _rejudge(catalog, known)
    elif record.state == "aborted" and (known.state, known.action) == ("done", "quarantined"):
        if record.restored_to is not None or _is_back(path, record):
            record_restored(catalog, path, root, known, record)
        else:
            _note_removed(catalog, path, known, record)


def _is_back(path: Path, record: Record) -> bool:
    seen, was = _seen(path, record.path), record.identity
    # The device's number may have changed since.
    return seen is not None and (seen.inode, seen.size_bytes, seen.mtime_ns) == (
        was.inode,
        was.size_bytes,
        was.mtime_ns,
    )


def _seen(path: Path, relative: bytes) -> FileIdentity | None:
    """Return what is there; what cannot be looked at is left to the scan, which tells why."""
    try:
        return stat_beneath(path, relative)
    except OSError:
        return None


def _note_removed(catalog: Catalog, path: Path, case: Verdict, record: Record) -> None:
    """Close the case of a file that somebody took out of quarantine by hand: where it is now is theirs to know."""
    catalog.cases.set(case.id, state="removed", event_at=record.changed_at)
    if case.file_id is not None:
        catalog.set_file(case.file_id, state="gone", queue=None)
    _log.warning(
        "taken out of quarantine by hand, not kept track of any more",
        path=show_path(os.fsencode(path) + b"/" + record.path),
        id=case.id,
    )


def _rejudge(catalog: Catalog, case: Verdict) -> None:
    catalog.cases.drop(case.id)
    file = None if case.file_id is None else catalog.file(case.file_id)
    # Where another file has the name by now, that is judged in its stead.
    if file is not None and catalog.file_at(file.root_id, file.path) in (file, None):
        catalog.set_file(file.id, state="new", queue="waiting")


def _take_in(catalog: Catalog, path: Path, record: Record, case: Verdict | None) -> None:
    quarantined_to = b".twinwatch/quarantine/files/" + record.id.encode()
    if case is None:
        catalog.cases.add(_verdict_of(record, path, quarantined_to))
    elif case.state in ("pending", "restoring"):
        catalog.cases.set(case.id, state="done", action="quarantined", quarantined_to=quarantined_to)
        if case.file_id is not None:
            catalog.set_file(case.file_id, state="quarantined", queue=None)


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
        kind=record.kind,
        distance=record.distance,
        cluster=record.cluster,
        evidence=record.evidence,
        edit=record.edit,
        action="quarantined",
        better=False,
        quarantined_to=quarantined_to,
        state="done",
        logged="done",
    )
