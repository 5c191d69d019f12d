"""A verdict becomes a case, and a case a move into quarantine."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from twinwatch.clock import utc_now
from twinwatch.fs import FileIdentity, closing, open_beneath, open_root
from twinwatch.judging.candidates import Original
from twinwatch.judging.policy import Decision
from twinwatch.quarantine import Moved, MoveOrder, Quarantine, translate_errors
from twinwatch.store import Content, File, Verdict


def verdict_of(
    root: Path, file: File, content: Content, original_root: Path, original: Original, verdict: Decision
) -> Verdict:
    """Return what is to be remembered of a verdict on a file, under a new id."""
    return Verdict(
        id=uuid.uuid4().hex,
        file_id=file.id,
        time=utc_now(),
        root=os.fsencode(root),
        path=file.path,
        sha256=content.sha256,
        original_root=os.fsencode(original_root),
        original_path=original.file.path,
        original_sha256=original.content.sha256,
        kind=original.kind,
        distance=original.distance,
        cluster=original.cluster,
        evidence=None if original.evidence is None else original.evidence.score,
        edit="" if original.evidence is None else original.evidence.edit,
        action=verdict.action,
        better=verdict.better,
    )


def move(quarantine: Quarantine, case: Verdict, identity: FileIdentity, bundle_id: str) -> Moved:
    """Move the copy, as it was judged, into quarantine. Raises what `Quarantine.move` raises, and OSError.

    That users have moved or closed the original is a ChangedError or NotMovableError, and no fault of the storage.
    """
    order = MoveOrder(
        id=case.id,
        path=case.path,
        identity=identity,
        sha256=case.sha256,
        original_root=os.fsdecode(case.original_root),
        original_path=case.original_path,
        original_sha256=case.original_sha256,
        kind=case.kind,
        distance=case.distance,
        evidence=case.evidence,
        cluster=case.cluster,
        edit=case.edit,
        bundle_id=bundle_id,
    )
    with translate_errors(case.original_path), closing(open_root(Path(order.original_root))) as root_fd:
        original_fd = open_beneath(root_fd, case.original_path)
    with closing(original_fd):
        return quarantine.move(order, original_fd)
