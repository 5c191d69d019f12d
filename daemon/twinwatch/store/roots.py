"""Watched folders in the catalogue; see `base.Roots`."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from twinwatch.store.rows import root_of, signed
from twinwatch.store.tables import roots
from twinwatch.store.values import Root


class SqlRoots:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def all(self, path: Path | None = None) -> list[Root]:
        query = sa.select(roots).order_by(roots.c.id.desc())
        if path is not None:
            query = query.where(roots.c.path == os.fsencode(path))
        return [root_of(row) for row in self._connection.execute(query)]

    def add(self, path: Path, folder: tuple[int, int], watched_ns: int) -> Root:
        values = {
            "path": os.fsencode(path),
            "device": signed(folder[0]),
            "inode": signed(folder[1]),
            "watched_ns": watched_ns,
        }
        root_id = self._connection.scalar(sa.insert(roots).values(**values).returning(roots.c.id))
        return Root(int(root_id or 0), os.fsencode(path), folder, watched_ns, None, None)

    def set_device(self, root_id: int, device: int) -> None:
        self._connection.execute(sa.update(roots).where(roots.c.id == root_id).values(device=signed(device)))

    def trip(self, root_id: int, reason: str, at: str) -> None:
        tripped = sa.update(roots).where(roots.c.id == root_id).values(latched=reason, latched_at=at)
        self._connection.execute(tripped)

    def resume(self, root_id: int) -> None:
        resumed = sa.update(roots).where(roots.c.id == root_id).values(latched=None, latched_at=None)
        self._connection.execute(resumed)
