"""Members of an index in blocks of rows: their embeddings, codes, clusters and keys.

A block is filled row by row and never moves, so that an index grows without being copied. A deleted member leaves its
row empty until the index is made anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from twinwatch.search.base import Keys, Vectors
from twinwatch.search.codes import NO_SCORE, MemberCodes
from twinwatch.search.int8_matmul import int8_products

_NO_KEY = -1
_NO_ROW = -1
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 1 << 12, 1 << 17


class Block:
    """Consecutive rows of an index, of which the first `used` were given to members."""

    def __init__(self, start: int, vectors: Vectors, code_size: int) -> None:
        """`start` is the number of the first row; `vectors`, float32 [rows, dim], is shared and written to."""
        self.start = start
        self.vectors = vectors
        self.used = 0
        self.codes = np.zeros((code_size, len(vectors)), np.int8)  # a column for each member, as the product wants
        self.offsets = np.full(len(vectors), NO_SCORE, np.int32)
        self.keys = np.full(len(vectors), _NO_KEY, np.int32)
        self.clusters = np.zeros(len(vectors), np.int32)

    @property
    def free(self) -> int:
        """Rows that were given to no member yet."""
        return len(self.keys) - self.used

    def append(self, keys: Keys, codes: MemberCodes, clusters: NDArray[np.int64]) -> None:
        """Give the next rows to members, whose embeddings are in `vectors` already.

        `keys` and `clusters` are int64 [n].
        """
        rows = slice(self.used, self.used + len(keys))
        self.keys[rows] = keys
        self.codes[:, rows] = codes.values.T
        self.offsets[rows] = codes.offsets
        self.clusters[rows] = clusters
        self.used += len(keys)

    def delete(self, row: int) -> None:
        """Empty a row."""
        self.keys[row] = _NO_KEY
        self.offsets[row] = NO_SCORE

    def member_rows(self) -> NDArray[np.intp]:
        """Return the rows that hold a member."""
        return np.flatnonzero(self.keys != _NO_KEY)

    def scores(self, query: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the scores of the used rows, int32 [used], for a query's code, uint8 [1, a + 1]."""
        scores = int8_products(query, self.codes)[: self.used]
        scores += self.offsets[: self.used]
        return scores


class Blocks:
    """Members by key. Four bytes are kept for each key up to the greatest one."""

    def __init__(self, dim: int, code_size: int) -> None:
        self.dim = dim
        self._code_size = code_size
        self._blocks: list[Block] = []
        self._rows = np.full(_MIN_BLOCK_ROWS, _NO_ROW, np.int32)  # [keys]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    @property
    def used(self) -> int:
        """Rows that were given to members, deleted ones included."""
        return sum(block.used for block in self._blocks)

    def find(self, key: int) -> tuple[Block, int] | None:
        """Return the block of a member and its row there, or None if `key` is not a member."""
        row = int(self._rows[key]) if 0 <= key < len(self._rows) else _NO_ROW
        if row == _NO_ROW:
            return None
        block = self._blocks[bisect_right(self._blocks, row, key=attrgetter("start")) - 1]
        return block, row - block.start

    def reserve(self, key: int) -> None:
        """Make room for keys up to this one."""
        if key >= len(self._rows):
            grown = np.full(max(key + 1, len(self._rows) * 3 // 2), _NO_ROW, np.int32)
            grown[: len(self._rows)] = self._rows
            self._rows = grown

    def adopt(self, vectors: Vectors) -> list[Block]:
        """Make blocks whose rows share float32 [n, dim] instead of copying it, to be filled in this order."""
        parts = (vectors[first : first + _MAX_BLOCK_ROWS] for first in range(0, len(vectors), _MAX_BLOCK_ROWS))
        return [self._add_block(part) for part in parts]

    def open_block(self) -> Block:
        """Return the last block if it has a free row, or else a new one, as large as the index up to a limit."""
        if self._blocks and self._blocks[-1].free:
            return self._blocks[-1]
        rows = min(max(self._size, _MIN_BLOCK_ROWS), _MAX_BLOCK_ROWS)
        return self._add_block(np.empty((rows, self.dim), np.float32))

    def append(self, block: Block, keys: Keys, codes: MemberCodes, clusters: NDArray[np.int64]) -> None:
        """Give the next rows of a block to new members, whose embeddings are there already."""
        self.reserve(int(keys.max()))
        first = block.start + block.used
        self._rows[keys] = np.arange(first, first + len(keys))
        block.append(keys, codes, clusters)
        self._size += len(keys)

    def delete(self, key: int) -> None:
        """Delete a member. Does nothing if `key` is not one."""
        found = self.find(key)
        if found is None:
            return
        block, row = found
        block.delete(row)
        self._rows[key] = _NO_ROW
        self._size -= 1
        if not self._size:
            self._blocks = []

    def _add_block(self, vectors: Vectors) -> Block:
        start = self._blocks[-1].start + len(self._blocks[-1].keys) if self._blocks else 0
        self._blocks.append(Block(start, vectors, self._code_size))
        return self._blocks[-1]
