"""What was decided: every verdict as it is remembered, logged and listed, and what people dismissed.

Part of the catalogue, whose connection it uses and whose `commit` it waits for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from twinwatch.store import statements
from twinwatch.store.tables import dismissals, files, verdicts

_QUARANTINED = (verdicts.c.state == "done", verdicts.c.action == "quarantined")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict as it is remembered, logged and listed. Paths are bytes, relative to their roots.

    `time` is that of the verdict, `event_at` that of its restore or dismissal.
    """

    id: str
    file_id: int | None
    time: str
    root: bytes
    path: bytes
    sha256: str
    original_root: bytes
    original_path: bytes
    original_sha256: str
    kind: str
    distance: float | None
    cluster: int | None
    evidence: float | None
    edit: str
    action: str
    better: bool
    quarantined_to: bytes | None = None
    restored_to: bytes | None = None
    state: str = "pending"
    logged: str = ""
    event_at: str | None = None


class Verdicts:
    """The verdicts in a catalogue, oldest first, and the dismissals."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, case: Verdict) -> None:
        self._connection.execute(
            sa.insert(verdicts).values(**{name: getattr(case, name) for name in Verdict.__slots__})
        )

    def set(self, case_id: str, **values: Any) -> None:
        """Set columns of a verdict, such as `state`, `action`, `logged`."""
        self._connection.execute(sa.update(verdicts).where(verdicts.c.id == case_id).values(**values))

    def drop(self, case_id: str) -> None:
        self._connection.execute(sa.delete(verdicts).where(verdicts.c.id == case_id))

    def get(self, case_id: str) -> Verdict | None:
        row = self._connection.execute(sa.select(verdicts).where(verdicts.c.id == case_id)).first()
        return None if row is None else Verdict(*row)

    def all(self, state: str | None = None, since: str | None = None) -> list[Verdict]:
        """Return verdicts, oldest first, of one state and since an RFC 3339 time if given."""
        query = sa.select(verdicts).order_by(verdicts.c.time, verdicts.c.id)
        if state is not None:
            query = query.where(verdicts.c.state == state)
        if since is not None:
            query = query.where(verdicts.c.time >= since)
        return [Verdict(*row) for row in self._connection.execute(query)]

    def latest_of(self, file_ids: Iterable[int]) -> dict[int, Verdict]:
        """Return the latest verdict on each of these files that has one, by id."""
        rows = self._connection.execute(statements.VERDICTS_OF, {"file_ids": list(file_ids)})
        cases = (Verdict(*row) for row in rows)
        return {case.file_id: case for case in cases if case.file_id is not None}

    def standing(self, root_ids: Iterable[int]) -> list[Verdict]:
        """Return the verdicts that still hold on files of these roots: flagged, and still there."""
        query = (
            sa.select(verdicts)
            .join(files, files.c.id == verdicts.c.file_id)
            .where(verdicts.c.state == "done", files.c.state == "duplicate", files.c.root_id.in_(list(root_ids)))
            .order_by(verdicts.c.time, verdicts.c.id)
        )
        return [Verdict(*row) for row in self._connection.execute(query)]

    def quarantined(self) -> list[Verdict]:
        """Return the verdicts on what lies in quarantine."""
        query = sa.select(verdicts).where(*_QUARANTINED).order_by(verdicts.c.time, verdicts.c.id)
        return [Verdict(*row) for row in self._connection.execute(query)]

    def quarantined_count(self) -> int:
        query = sa.select(sa.func.count()).select_from(verdicts).where(*_QUARANTINED)
        return int(self._connection.scalar(query) or 0)

    def unlogged(self) -> list[Verdict]:
        """Return the verdicts whose last event the duplicates log does not hold yet."""
        query = (
            sa.select(verdicts)
            .where(verdicts.c.state.not_in(("pending", "restoring")), verdicts.c.state != verdicts.c.logged)
            .order_by(verdicts.c.time)
        )
        return [Verdict(*row) for row in self._connection.execute(query)]

    def claim_line(self, case: Verdict) -> bool:
        """Mark the last event of a verdict as logged; False if somebody else has, or it is no longer the last."""
        claim = sa.update(verdicts).where(
            verdicts.c.id == case.id, verdicts.c.state == case.state, verdicts.c.logged == case.logged
        )
        return self._connection.execute(claim.values(logged=case.state)).rowcount == 1

    def put_back(self, root: bytes, path: bytes, sha256: str) -> bool:
        """True if a person restored, or is just restoring, these bytes to this path: they are not judged again."""
        values = {"root": root, "path": path, "sha256": sha256}
        return self._connection.scalar(statements.PUT_BACK, values) is not None

    def dismiss(self, sha256: str, other: str, time: str) -> None:
        """Remember that two contents are no duplicates of each other."""
        one, two = sorted((sha256, other))
        self._connection.execute(insert(dismissals).values(one=one, other=two, time=time).on_conflict_do_nothing())

    def dismissed(self, sha256: str, others: Iterable[str]) -> frozenset[str]:
        """Return those of the others that a content is no duplicate of, as a person said."""
        which = {"sha256": sha256, "others": list(others)}
        pairs = self._connection.execute(statements.DISMISSED, which)
        return frozenset(one if other == sha256 else other for one, other in pairs)

    def dismissals(self) -> list[tuple[str, str, str]]:
        """Return (sha256, other sha256, time) of everything that was dismissed."""
        return [(row.one, row.other, row.time) for row in self._connection.execute(sa.select(dismissals))]
