"""The queue in the catalogue; see `base.Queue`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from twinwatch.fs import FileIdentity, split
from twinwatch.store import statements
from twinwatch.store.rows import NEVER_NS, file_of, identity_columns
from twinwatch.store.tables import FOUND, NOTICED, WAITING, files
from twinwatch.store.values import File, FileState, QueueState

_AS_NEW = {"state": FileState.NEW, "queue": QueueState.WAITING}


class SqlQueue:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(
        self, root_id: int, path: bytes, seen: FileIdentity, preexisting: bool, arrived_ns: int, state: QueueState
    ) -> None:
        folder, name = split(path)
        new = {"root_id": root_id, "folder": folder, "name": name, "state": FileState.NEW, "standing": preexisting}
        queued = {"queue": state, "arrived_ns": arrived_ns, **identity_columns(seen)}
        self._connection.execute(statements.ENQUEUE, new | queued)

    def release_found(self) -> None:
        self._connection.execute(sa.update(files).where(sa.text(FOUND)).values(queue=QueueState.WAITING))

    def next(self, limit: int, root_ids: Iterable[int], exclude: Iterable[int]) -> list[File]:
        query = (
            sa.select(files)
            .where(sa.text(WAITING), files.c.root_id.in_(list(root_ids)), files.c.id.not_in(list(exclude)))
            .order_by(files.c.standing.desc(), files.c.arrived_ns, files.c.folder, files.c.name)
            .limit(limit)
        )
        return [file_of(row) for row in self._connection.execute(query)]

    def count(self) -> int:
        queued = (sa.select(sa.func.count()).select_from(files).where(sa.text(which)) for which in (FOUND, WAITING))
        return sum(int(self._connection.scalar(query) or 0) for query in queued)

    def rejudge(self, file_id: int) -> None:
        self._connection.execute(sa.update(files).where(files.c.id == file_id).values(**_AS_NEW))

    def rejudge_links(self, content_id: int) -> None:
        links = (files.c.content_id == content_id) & (files.c.state == FileState.LINK)
        self._connection.execute(sa.update(files).where(links).values(**_AS_NEW))

    def rejudge_kept(self, content_ids: Iterable[int], since_ns: int, exclude: int) -> None:
        not_queued = files.c.queue.is_(None) | sa.text(NOTICED)
        kept = (files.c.state == FileState.KEPT) & not_queued & (files.c.kept_ns >= since_ns)
        for content_id in content_ids:
            holders = kept & (files.c.content_id == content_id) & (files.c.id != exclude)
            self._connection.execute(sa.update(files).where(holders).values(**_AS_NEW))

    def settle(self, file_id: int) -> None:
        idle = (files.c.id == file_id) & files.c.queue.is_(None)
        self._connection.execute(sa.update(files).where(idle).values(queue=QueueState.SETTLE))

    def settle_changed(self, file_id: int) -> None:
        changed = sa.update(files).where(files.c.id == file_id)
        self._connection.execute(changed.values(queue=QueueState.SETTLE, mtime_ns=NEVER_NS))

    def take_to_settle(self, root_ids: Iterable[int]) -> list[tuple[int, bytes]]:
        rows = self._connection.execute(statements.TO_SETTLE, {"root_ids": list(root_ids)})
        taken = [file_of(row) for row in rows]
        for file in taken:
            taken_out = sa.update(files).where(files.c.id == file.id, files.c.queue == QueueState.SETTLE)
            self._connection.execute(taken_out.values(queue=None))
        return [(file.root_id, file.path) for file in taken]

    def report_gone(self, files_missed: Collection[File]) -> None:
        for file in files_missed:
            self._connection.execute(statements.REPORT_GONE, statements.as_seen(file))

    def gone(self, limit: int) -> list[File]:
        return [file_of(row) for row in self._connection.execute(statements.GONE, {"most": limit})]
