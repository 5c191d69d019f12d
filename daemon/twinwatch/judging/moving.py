"""One copy's move to quarantine, and what to make of a move that failed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from twinwatch.errors import QuarantineError, UnreadableError
from twinwatch.fs import TRANSIENT_ERRNOS, FileIdentity, closing, join, open_beneath, open_root, stat_regular
from twinwatch.quarantine import (
    BusyError,
    ChangedError,
    Moved,
    MoveOrder,
    Quarantine,
    StorageFaultError,
    translate_errors,
)
from twinwatch.store import Verdict
from twinwatch.wording import show_path

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class MoveResult:
    """Where a copy went in quarantine, or why it stays at its path.

    `flag_reason` says why it is only flagged; `fault` why nothing more should be moved out of its root. Where all are
    empty, the copy has to be judged again.
    """

    quarantined_to: bytes | None = None
    flag_reason: str = ""
    fault: str = ""


def move_copy(quarantine: Quarantine, verdict: Verdict, identity: FileIdentity, bundle_id: str) -> MoveResult:
    """Move the copy that a verdict is about, if it is still as it was judged."""
    place = join(verdict.root, verdict.path)
    try:
        moved = move(quarantine, verdict, identity, bundle_id)
    except (BusyError, ChangedError, FileNotFoundError, NotADirectoryError, UnreadableError) as error:
        _log.info("not moved, judged again later", path=show_path(place), why=str(error))
        return MoveResult()
    except (StorageFaultError, OSError) as error:
        if _is_transient(error) and stat_regular(place):
            _log.warning("not moved, judged again later", path=show_path(place), why=str(error))
            return MoveResult()
        return MoveResult(flag_reason=f"quarantine failed: {error}", fault=str(error))
    except QuarantineError as error:
        return MoveResult(flag_reason=str(error))
    return MoveResult(quarantined_to=moved.quarantined_to)


def move(quarantine: Quarantine, verdict: Verdict, identity: FileIdentity, bundle_id: str) -> Moved:
    """Move the copy, as it was judged, into quarantine. Raises what `Quarantine.move` raises, and OSError.

    An original that users have moved or closed is a ChangedError or NotMovableError, and no fault of the storage.
    """
    order = MoveOrder(
        id=verdict.id,
        path=verdict.path,
        identity=identity,
        sha256=verdict.sha256,
        original_root=os.fsdecode(verdict.original_root),
        original_path=verdict.original_path,
        original_sha256=verdict.original_sha256,
        kind=verdict.kind.value,
        distance=verdict.distance,
        evidence=verdict.evidence,
        cluster=verdict.cluster,
        edit=verdict.edit,
        bundle_id=bundle_id,
    )
    with translate_errors(verdict.original_path), closing(open_root(Path(order.original_root))) as root_fd:
        original_fd = open_beneath(root_fd, verdict.original_path)
    with closing(original_fd):
        return quarantine.move(order, original_fd)


def _is_transient(error: OSError | StorageFaultError) -> bool:
    """True for a want of descriptors or memory, which passes by itself and is no fault of the storage."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS
