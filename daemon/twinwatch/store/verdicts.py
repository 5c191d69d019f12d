"""Verdicts and dismissals in the catalogue; see `base.Verdicts` and `base.Dismissals`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from twinwatch.store import statements
from twinwatch.store.rows import columns_of, verdict_of
from twinwatch.store.tables import dismissals, files, verdicts
from twinwatch.store.values import Action, Dismissal, FileState, Verdict, VerdictState

_QUARANTINED = (verdicts.c.state == VerdictState.DONE, verdicts.c.action == Action.QUARANTINED)
_UNDER_WAY = (VerdictState.PENDING, VerdictState.RESTORING)


class SqlVerdicts:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, verdict: Verdict) -> None:
        self._connection.execute(sa.insert(verdicts).values(**columns_of(verdict)))

    def get(self, verdict_id: str) -> Verdict | None:
        row = self._connection.execute(sa.select(verdicts).where(verdicts.c.id == verdict_id)).first()
        return None if row is None else verdict_of(row)

    def drop(self, verdict_id: str) -> None:
        self._connection.execute(sa.delete(verdicts).where(verdicts.c.id == verdict_id))

    def all(self, state: VerdictState | None = None, since: str | None = None) -> list[Verdict]:
        query = sa.select(verdicts).order_by(verdicts.c.time, verdicts.c.id)
        if state is not None:
            query = query.where(verdicts.c.state == state)
        if since is not None:
            query = query.where(verdicts.c.time >= since)
        return self._read(query)

    def latest_of(self, file_ids: Iterable[int]) -> dict[int, Verdict]:
        rows = self._connection.execute(statements.VERDICTS_OF, {"file_ids": list(file_ids)})
        found = (verdict_of(row) for row in rows)
        return {verdict.file_id: verdict for verdict in found if verdict.file_id is not None}

    def active(self, root_ids: Iterable[int]) -> list[Verdict]:
        query = (
            sa.select(verdicts)
            .join(files, files.c.id == verdicts.c.file_id)
            .where(
                verdicts.c.state == VerdictState.DONE,
                files.c.state == FileState.DUPLICATE,
                files.c.root_id.in_(list(root_ids)),
            )
            .order_by(verdicts.c.time, verdicts.c.id)
        )
        return self._read(query)

    def quarantined(self) -> list[Verdict]:
        return self._read(sa.select(verdicts).where(*_QUARANTINED).order_by(verdicts.c.time, verdicts.c.id))

    def quarantined_count(self) -> int:
        query = sa.select(sa.func.count()).select_from(verdicts).where(*_QUARANTINED)
        return int(self._connection.scalar(query) or 0)

    def unlogged(self) -> list[Verdict]:
        query = (
            sa.select(verdicts)
            .where(verdicts.c.state.not_in(_UNDER_WAY), verdicts.c.state != verdicts.c.logged)
            .order_by(verdicts.c.time)
        )
        return self._read(query)

    def claim(self, verdict: Verdict) -> bool:
        claim = sa.update(verdicts).where(
            verdicts.c.id == verdict.id, verdicts.c.state == verdict.state, verdicts.c.logged == verdict.logged
        )
        return self._connection.execute(claim.values(logged=verdict.state)).rowcount == 1

    def was_restored(self, root: bytes, path: bytes, sha256: str) -> bool:
        values = {"root": root, "path": path, "sha256": sha256}
        return self._connection.scalar(statements.WAS_RESTORED, values) is not None

    def mark_done(self, verdict_id: str, action: Action, quarantined_to: bytes | None = None) -> None:
        moved = {} if quarantined_to is None else {"quarantined_to": quarantined_to}
        self._set(verdict_id, state=VerdictState.DONE, action=action, **moved)

    def set_state(self, verdict_id: str, state: VerdictState) -> None:
        self._set(verdict_id, state=state)

    def mark_restored(self, verdict_id: str, restored_to: bytes, at: str) -> None:
        values = {"action": Action.QUARANTINED, "restored_to": restored_to, "event_at": at}
        self._set(verdict_id, state=VerdictState.RESTORED, **values)

    def mark_dismissed(self, verdict_id: str, at: str) -> None:
        self._set(verdict_id, state=VerdictState.DISMISSED, event_at=at)

    def mark_removed(self, verdict_id: str, at: str) -> None:
        self._set(verdict_id, state=VerdictState.REMOVED, event_at=at)

    def _set(self, verdict_id: str, **columns: Any) -> None:
        self._connection.execute(sa.update(verdicts).where(verdicts.c.id == verdict_id).values(**columns))

    def _read(self, query: sa.Select[Any]) -> list[Verdict]:
        return [verdict_of(row) for row in self._connection.execute(query)]


class SqlDismissals:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, sha256: str, other: str, time: str) -> None:
        one, two = sorted((sha256, other))
        self._connection.execute(statements.DISMISS, {"one": one, "other": two, "time": time})

    def of(self, sha256: str, others: Iterable[str]) -> frozenset[str]:
        which = {"sha256": sha256, "others": list(others)}
        pairs = self._connection.execute(statements.DISMISSED, which)
        return frozenset(one if other == sha256 else other for one, other in pairs)

    def all(self) -> list[Dismissal]:
        return [Dismissal(row.one, row.other, row.time) for row in self._connection.execute(sa.select(dismissals))]
