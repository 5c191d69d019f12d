"""Missing originals in the catalogue; see `base.Missing`."""

from __future__ import annotations

import sqlalchemy as sa

from twinwatch.store import statements
from twinwatch.store.tables import missed


class SqlMissing:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def all(self) -> dict[int, int]:
        return {row.file_id: row.since_ns for row in self._connection.execute(sa.select(missed))}

    def add(self, file_id: int, since_ns: int) -> None:
        self._connection.execute(statements.ADD_MISSING, {"file_id": file_id, "since_ns": since_ns})

    def remove(self, file_id: int) -> None:
        self._connection.execute(sa.delete(missed).where(missed.c.file_id == file_id))
