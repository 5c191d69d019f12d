"""Contents and their embeddings in the catalogue; see `base.Contents`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinwatch.store import statements
from twinwatch.store.rows import columns_of, content_of, file_of
from twinwatch.store.tables import contents, embeddings, files
from twinwatch.store.values import ORIGINAL_STATES, Content, ContentFiles, File, QueueState

MAX_KNOWN = 500  # hashes of one size; sending more to a worker costs more than decoding


class SqlContents:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, content_id: int) -> Content | None:
        return self.get_many([content_id]).get(content_id)

    def get_many(self, content_ids: Iterable[int]) -> dict[int, Content]:
        rows = self._connection.execute(statements.CONTENTS, {"ids": list(content_ids)})
        return {row.id: content_of(row) for row in rows}

    def by_sha256(self, sha256: str) -> Content | None:
        row = self._connection.execute(statements.CONTENT_OF, {"sha256": sha256}).first()
        return None if row is None else content_of(row)

    def known_sha256(self, size_bytes: int, bundle_id: str) -> frozenset[str]:
        which = {"size_bytes": size_bytes, "bundle_id": bundle_id, "most": MAX_KNOWN + 1}
        found = frozenset(self._connection.scalars(statements.KNOWN_SHA256, which))
        return found if len(found) <= MAX_KNOWN else frozenset()

    def add(self, content: Content) -> Content:
        values = {name: value for name, value in columns_of(content).items() if name != "id"}
        content_id = self._connection.scalar(statements.ADD_CONTENT, values)
        return replace(content, id=int(content_id or 0))

    def add_embedding(self, content_id: int, bundle_id: str, vector: NDArray[np.float32]) -> None:
        values = {"content_id": content_id, "bundle_id": bundle_id, "vector": vector.astype("<f4").tobytes()}
        self._connection.execute(statements.ADD_EMBEDDING, values)

    def embedding(self, content_id: int, bundle_id: str) -> NDArray[np.float32] | None:
        which = {"content_id": content_id, "bundle_id": bundle_id}
        vector = self._connection.scalar(statements.EMBEDDING, which)
        return None if vector is None else np.frombuffer(vector, "<f4")

    def lacking_embedding(
        self, bundle_id: str, limit: int, root_ids: Iterable[int], exclude: Iterable[int]
    ) -> list[File]:
        query = (
            sa.select(files)
            .join(contents, contents.c.id == files.c.content_id)
            .outerjoin(embeddings, (embeddings.c.content_id == contents.c.id) & (embeddings.c.bundle_id == bundle_id))
            .where(
                files.c.state.in_(ORIGINAL_STATES),
                files.c.queue.is_(None),
                contents.c.reason.is_(None),
                embeddings.c.content_id.is_(None),
                files.c.root_id.in_(list(root_ids)),
                files.c.id.not_in(list(exclude)),
            )
            .group_by(contents.c.id)
            .limit(limit)
        )
        return [file_of(row) for row in self._connection.execute(query)]

    def files_of(self, content_ids: Iterable[int]) -> dict[int, ContentFiles]:
        found = {content_id: ContentFiles([], []) for content_id in content_ids}
        for row in self._connection.execute(statements.HOLDERS, {"content_ids": list(found)}):
            holders = found[row.content_id]
            is_queued = row.queue in (QueueState.FOUND, QueueState.WAITING)
            (holders.queued if is_queued else holders.originals).append(file_of(row))
        return found
