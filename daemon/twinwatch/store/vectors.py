"""The index of embeddings, kept in step with the files by the store alone; see `base.Vectors`.

Changes count at once for queries of this store. `rollback` undoes those since the last commit, in reverse order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinwatch.store import statements
from twinwatch.store.tables import contents, embeddings, files
from twinwatch.store.values import ORIGINAL_STATES

if TYPE_CHECKING:
    from twinwatch.search import Bundle, ExactIndex, Match

ROWS_AT_ONCE = 10_000


class SqlVectors:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._index: ExactIndex | None = None
        self._bundle_id = ""
        # What undoes each change since the last commit: the vector that was removed, or None for one that was added.
        self._undo: list[tuple[int, NDArray[np.float32] | None]] = []

    def open(self, bundle: Bundle) -> None:
        from twinwatch.search import ExactIndex  # ONNX Runtime, which only a search needs

        self._bundle_id = bundle.id
        keys, vectors = self._read(bundle.centroids.shape[1])
        self._index = ExactIndex.of(bundle.centroids, keys, vectors)

    def query(self, embedding: NDArray[np.float32], radius: float, most: int | None = None) -> list[Match]:
        return self._opened().query(embedding, radius, most)

    def cluster_of(self, content_id: int) -> int | None:
        return self._opened().cluster_of(content_id)

    def __contains__(self, content_id: int) -> bool:
        return self._index is not None and content_id in self._index

    def needs_recluster(self) -> bool:
        return self._opened().needs_recluster()

    def snapshot(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self._opened().vectors()

    def replace(self, fresh: ExactIndex) -> None:
        from twinwatch.search import catch_up

        self._index = catch_up(fresh, self._opened())

    def add_content_of(self, file_id: int) -> None:
        """Take in what a file holds, if it is a picture that may be compared and is not in yet."""
        if self._index is None:
            return
        which = {"the_id": file_id, "bundle_id": self._bundle_id}
        row = self._connection.execute(statements.COMPARABLE_EMBEDDING, which).first()
        if row is not None and row.content_id not in self._index:
            self._index.add(row.content_id, np.frombuffer(row.vector, "<f4"))
            self._undo.append((row.content_id, None))

    def remove(self, content_id: int) -> None:
        """Take out a content that no file holds any more."""
        if self._index is not None and content_id in self._index:
            self._undo.append((content_id, self._index.vector(content_id)))
            self._index.remove(content_id)

    def commit(self) -> None:
        self._undo.clear()

    def rollback(self) -> None:
        while self._undo:
            content_id, vector = self._undo.pop()
            if vector is None:
                self._opened().remove(content_id)
            else:
                self._opened().add(content_id, vector)

    def _opened(self) -> ExactIndex:
        assert self._index is not None, "the vectors were not opened"
        return self._index

    def _read(self, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids, int64 [N], and embeddings, float32 [N, dim], of all contents that can be candidates.

        Those are the pictures that can be an original and are not blank.
        """
        total = sa.select(sa.func.count()).where(embeddings.c.bundle_id == self._bundle_id)
        most = int(self._connection.scalar(total) or 0)
        # Takes no memory until it is written to.
        keys, vectors = np.empty(most, np.int64), np.empty((most, dim), np.float32)
        living = sa.select(files.c.content_id).where(files.c.state.in_(ORIGINAL_STATES))
        query = (
            sa.select(embeddings.c.content_id, embeddings.c.vector)
            .join(contents, contents.c.id == embeddings.c.content_id)
            .where(
                embeddings.c.bundle_id == self._bundle_id,
                contents.c.blank.is_(False),
                embeddings.c.content_id.in_(living),
            )
        )
        size = 0
        for rows in self._connection.execute(query).yield_per(ROWS_AT_ONCE).partitions():
            part = slice(size, size + len(rows))
            keys[part] = [content_id for content_id, _ in rows]
            vectors[part] = np.frombuffer(b"".join(vector for _, vector in rows), "<f4").reshape(-1, dim)
            size += len(rows)
        return keys[:size], vectors[:size]
