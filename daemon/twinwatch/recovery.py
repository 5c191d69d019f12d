"""Brings catalogue and quarantine back into step after a crash, a restore by hand, or a rebuild.

The quarantine's own records are the truth; the catalogue only remembers them.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from twinwatch.catalog import Case, Catalog, Root
from twinwatch.duplog import now, show_path
from twinwatch.quarantine import Quarantine, Record
from twinwatch.reader import look

_log = structlog.get_logger("twinwatch")


def reconcile(quarantine: Quarantine, path: Path, root: Root, catalog: Catalog) -> None:
    """Finish what was cut short in one root. What only a person can settle latches the root to flag-only.

    Raises QuarantineError where the quarantine cannot be read.
    """
    for settled in quarantine.recover():
        _log.warning("recovered", path=str(path), id=settled.id, outcome=settled.outcome, why=settled.reason or None)
        if settled.needs_person and root.latched is None:
            reason = f"quarantine holds {settled.id}: {settled.outcome} {settled.reason}".strip()
            catalog.set_root(root.id, latched=reason, latched_at=now())
    records = {record.id: record for record in quarantine.records()}
    for case in catalog.cases(state="pending"):
        if case.root == os.fsencode(path) and case.id not in records:
            _rejudge(catalog, case)
    for record in records.values():
        known = catalog.case(record.id)
        if record.state == "quarantined":
            _take_in(catalog, path, record, known)
        elif known is not None and record.state == "restored" and record.restored_to is not None:
            note_restored(catalog, path, root, known, record.restored_to)
        elif known is not None and known.state == "pending":
            _rejudge(catalog, known)
    catalog.commit()


def note_restored(catalog: Catalog, path: Path, root: Root, case: Case, restored_to: bytes) -> None:
    """Remember that a file was put back: it belongs where it is, and is not moved again for what it holds now."""
    if case.state in ("restored", "dismissed"):
        return
    catalog.set_case(case.id, state="restored", action="quarantined", restored_to=restored_to)
    seen = look(os.fsencode(path) + b"/" + restored_to)
    if case.file_id is not None and seen is not None:
        # Queued, so that a running daemon takes it into its index again.
        catalog.place_file(case.file_id, root.id, restored_to, seen, state="restored", queue="waiting")
    _log.info("restored", path=show_path(os.fsencode(path) + b"/" + restored_to), id=case.id)


def _rejudge(catalog: Catalog, case: Case) -> None:
    catalog.drop_case(case.id)
    if case.file_id is not None:
        catalog.set_file(case.file_id, state="new", queue="waiting")


def _take_in(catalog: Catalog, path: Path, record: Record, case: Case | None) -> None:
    quarantined_to = b".twinwatch/quarantine/files/" + record.id.encode()
    if case is None:
        catalog.add_case(_case_of(record, path, quarantined_to))
    elif case.state in ("pending", "restoring"):
        catalog.set_case(case.id, state="done", action="quarantined", quarantined_to=quarantined_to)
        if case.file_id is not None:
            catalog.set_file(case.file_id, state="quarantined", queue=None)


def _case_of(record: Record, path: Path, quarantined_to: bytes) -> Case:
    return Case(
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
