"""Files in the catalogue; see `base.Files`. Each verb keeps the vectors in step with what the files hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from twinwatch.fs import FileIdentity, StatTuple, split
from twinwatch.store import statements
from twinwatch.store.queue import SqlQueue
from twinwatch.store.rows import NEVER_NS, file_of, identity_columns, signed, unsigned
from twinwatch.store.tables import PRESENT, files, roots
from twinwatch.store.values import ORIGINAL_STATES, File, FileState, QueueState, UnreadableFile
from twinwatch.store.vectors import SqlVectors

_PRESENT = sa.text(PRESENT)
_IDENTITY = tuple(files.c[name] for name in FileIdentity.__slots__)


class SqlFiles:
    def __init__(self, connection: sa.Connection, queue: SqlQueue, vectors: SqlVectors) -> None:
        self._connection = connection
        self._queue = queue
        self._vectors = vectors

    def get(self, file_id: int) -> File | None:
        row = self._connection.execute(statements.FILE, {"the_id": file_id}).first()
        return None if row is None else file_of(row)

    def at(self, root_id: int, path: bytes) -> File | None:
        folder, name = split(path)
        there = {"root_id": root_id, "folder": folder, "name": name}
        row = self._connection.execute(statements.FILE_AT, there).first()
        return None if row is None else file_of(row)

    def in_folder(self, root_id: int, folder: bytes) -> dict[bytes, File]:
        rows = self._connection.execute(
            sa.select(files).where(files.c.root_id == root_id, files.c.folder == folder, _PRESENT)
        )
        return {row.name: file_of(row) for row in rows}

    def stats_in(self, root_id: int, folder: bytes) -> dict[bytes, StatTuple]:
        # The driver's rows: SQLAlchemy's own take as long again as SQLite.
        rows = self._connection.execute(
            sa.select(files.c.name, *_IDENTITY).where(files.c.root_id == root_id, files.c.folder == folder, _PRESENT)
        ).cursor
        assert rows is not None
        return {name: (unsigned(device), unsigned(inode), *more) for name, device, inode, *more in rows.fetchall()}

    def folders(self, root_id: int) -> list[bytes]:
        query = sa.select(files.c.folder).where(files.c.root_id == root_id, _PRESENT).distinct()
        return list(self._connection.scalars(query))

    def count(self, root_id: int) -> int:
        query = sa.select(sa.func.count()).where(files.c.root_id == root_id, _PRESENT)
        return int(self._connection.scalar(query) or 0)

    def ever_seen(self, path: Path) -> int:
        query = (
            sa.select(sa.func.count())
            .select_from(files)
            .join(roots, roots.c.id == files.c.root_id)
            .where(roots.c.path == os.fsencode(path))
        )
        return int(self._connection.scalar(query) or 0)

    def same_inode(self, file: File, identity: FileIdentity) -> list[File]:
        inode = {"inode": signed(identity.inode), "device": signed(identity.device), "but": file.id}
        return [file_of(row) for row in self._connection.execute(statements.SAME_INODE, inode)]

    def unreadable(self, root_ids: Iterable[int] | None = None) -> list[UnreadableFile]:
        query = (
            sa.select(roots.c.path, files.c.folder, files.c.name, files.c.refusal)
            .join(roots, roots.c.id == files.c.root_id)
            .where(files.c.state == FileState.UNREADABLE)
            .order_by(roots.c.path, files.c.folder, files.c.name)
        )
        if root_ids is not None:
            query = query.where(files.c.root_id.in_(list(root_ids)))
        return [
            UnreadableFile(b"/".join(part for part in (row.path, row.folder, row.name) if part), row.refusal or "")
            for row in self._connection.execute(query)
        ]

    def begin(self, file_id: int, identity: FileIdentity, content_id: int, judged_ns: int) -> None:
        before = self._content_of(file_id)
        values = identity_columns(identity) | {"content_id": content_id, "kept_ns": judged_ns, "state": FileState.NEW}
        self._set(file_id, **values)
        if before != content_id:
            self._left(before)

    def confirm(self, file_id: int, identity: FileIdentity, state: FileState) -> None:
        self._end(file_id, state, **identity_columns(identity))

    def mark_kept(self, file_id: int) -> None:
        self._end(file_id, FileState.KEPT)

    def mark_duplicate(self, file_id: int) -> None:
        self._end(file_id, FileState.DUPLICATE)

    def mark_quarantined(self, file_id: int) -> None:
        # Not in the queue in any case: a scan that missed it meanwhile missed it because of the move.
        self._set(file_id, state=FileState.QUARANTINED, queue=None)

    def mark_link(self, file_id: int, identity: FileIdentity, content_id: int) -> None:
        self._end(file_id, FileState.LINK, content_id=content_id, **identity_columns(identity))

    def mark_unreadable(self, file_id: int, reason: str, forget_content: bool = False) -> None:
        before = self._content_of(file_id)
        self._end(file_id, FileState.UNREADABLE, refusal=reason, **({"content_id": None} if forget_content else {}))
        self._left(before)

    def dismiss(self, file_id: int) -> None:
        self._set(file_id, state=FileState.KEPT)

    def mark_gone(self, file_id: int) -> None:
        file = self.get(file_id)
        if file is None:
            return
        content_id = None if file.state is FileState.NEW else file.content_id
        self._set(file_id, state=FileState.GONE, queue=None, content_id=content_id)
        self._left(file.content_id)

    def invalidate(self, file_id: int) -> None:
        self._set(file_id, queue=None, mtime_ns=NEVER_NS)

    def place(
        self, file_id: int, root_id: int, path: bytes, identity: FileIdentity, state: FileState, queued: bool = False
    ) -> None:
        there = self.at(root_id, path)
        if there is not None and there.id != file_id:
            is_named = self._connection.scalar(statements.HAS_VERDICT, {"the_id": there.id})
            if there.state is FileState.NEW and not is_named:
                self._connection.execute(sa.delete(files).where(files.c.id == there.id))
                self._left(there.content_id)
            else:
                self.mark_gone(there.id)
        folder, name = split(path)
        values = {"root_id": root_id, "folder": folder, "name": name, **identity_columns(identity)}
        self._set(file_id, state=state, queue=QueueState.WAITING if queued else None, **values)
        if state in ORIGINAL_STATES:
            self._vectors.add_content_of(file_id)

    def _set(self, file_id: int, **columns: Any) -> None:
        self._connection.execute(statements.SET_FILE, {"the_id": file_id, **columns})

    def _end(self, file_id: int, state: FileState, **columns: Any) -> None:
        """End a judgement, in the vectors too."""
        self._connection.execute(statements.END_JUDGEMENT, {"the_id": file_id, "state": state, **columns})
        if state in ORIGINAL_STATES:
            self._vectors.add_content_of(file_id)

    def _left(self, content_id: int | None) -> None:
        """Where no original holds a content any more, drop its vector and let its hard links be judged."""
        if content_id is None or self._connection.scalar(statements.HAS_ORIGINAL, {"content_id": content_id}):
            return
        self._vectors.remove(content_id)
        self._queue.rejudge_links(content_id)

    def _content_of(self, file_id: int) -> int | None:
        content_id = self._connection.scalar(statements.CONTENT_ID, {"the_id": file_id})
        return None if content_id is None else int(content_id)
