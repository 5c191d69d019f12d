"""Verdicts as objects of the duplicates log."""

from __future__ import annotations

import base64
from typing import Any

from twinwatch.fs import join
from twinwatch.store import Kind, Verdict, VerdictState
from twinwatch.wording import show_path

_ENDED = (VerdictState.RESTORED, VerdictState.DISMISSED, VerdictState.REMOVED)


def path_fields(name: str, path: bytes) -> dict[str, str]:
    """Return the log's fields for one path: escaped text, and base64 of the bytes where the text does not give them."""
    shown = show_path(path)
    fields = {name: shown}
    if shown.encode("utf-8", "surrogateescape") != path:
        fields[f"{name}_b64"] = base64.b64encode(path).decode("ascii")
    return fields


def event_of(verdict: Verdict) -> dict[str, Any]:
    """Return the log's object for a verdict's state. After its end, where the file lay before is not repeated."""
    ended = verdict.state in _ENDED
    event: dict[str, Any] = {
        "time": verdict.event_at or verdict.time if ended else verdict.time,
        "id": verdict.id,
        "event": "duplicate" if verdict.state is VerdictState.DONE else verdict.state.value,
    }
    event |= path_fields("path", join(verdict.root, verdict.path))
    if ended and verdict.restored_to is not None:
        event |= path_fields("restored_to", join(verdict.root, verdict.restored_to))
    event |= path_fields("duplicate_of", join(verdict.original_root, verdict.original_path))
    event["kind"] = verdict.kind.value
    if verdict.kind is Kind.NEAR:
        event["distance"] = _round(verdict.distance)
        event["cluster"] = verdict.cluster
        event["evidence"] = _round(verdict.evidence)
        event["edit"] = verdict.edit
    if not ended:
        event["action"] = verdict.action.value
        if verdict.quarantined_to is not None:
            event |= path_fields("quarantined_to", join(verdict.root, verdict.quarantined_to))
    return event | {"sha256": verdict.sha256, "better": verdict.better}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
