"""A quantizer: embeddings to codes of one byte a coordinate, with a bound on the error of their distances.

An embedding x splits into p(x), its coordinates on the first principal axes, and q(x), what those axes leave. Its
*projection* is s(x) = (p(x), |q(x)|). Projections are never farther apart than their embeddings, |s(x) - s(y)| <=
|x - y|: p and q are orthogonal, and ||q(x)| - |q(y)|| <= |q(x) - q(y)|. Clipping both projections to the same box never
increases their distance.

Rounding a clipped projection to a grid gives its *code*. Let e(x) be the length of the rounding error. Then no y is
within r of x unless their codes are within r + e(x) + e(y). Members whose codes are farther away are skipped, and
their embeddings are not read.

Codes are compared by a product of integers. A query's grid is twice as coarse as a member's. Let a be the code of the
query, b the code of a member and d the step of the member's grid. The codes are |2da - db| apart, which is at most r if
and only if a·b - |b|^2 / 4 >= |a|^2 - r^2 / 4d^2. The left side is the member's *score*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinwatch.search.base import Vectors

AXES = 63
"""Principal axes in a projection. Fewer are compared faster, but skip fewer members. With one coordinate for what the
axes leave, a code fills 64 bytes: one register of a processor with AVX-512."""

# Members' codes are within ±126. A query's are within ±63, as its grid is twice as coarse, and are shifted to 1..127.
# The sum of two products then fits into 16 bits, in which processors with AVX2 but without VNNI add them.
_MAX_CODE = 126
_QUERY_SHIFT = 64

NO_SCORE = -(1 << 30)
"""The offset of a row without a member: lower than any `min_score`."""


@dataclass(frozen=True, slots=True)
class MemberCodes:
    """The codes of n members."""

    values: NDArray[np.int8]  # [n, a + 1]
    offsets: NDArray[np.int32]  # [n]; added to the product with a query's code, they give the score
    max_error: float  # L2; the longest rounding error among them


@dataclass(frozen=True, slots=True)
class QueryCode:
    """The code of a query."""

    values: NDArray[np.uint8]  # [1, a + 1]; shifted to be unsigned
    squared_norm: float  # before the shift
    error: float  # L2; the length of its rounding error
    step: float  # of the members' grid

    def min_score(self, distance: float, slack: float) -> int:
        """Return a score that every member within L2 `distance` reaches.

        `slack` is added to the distance for all errors but the query's own: the members' rounding and float32.
        """
        query_steps = (distance + self.error + slack) / (2 * self.step)
        # The bound is lower by one, as offsets are rounded to integers.
        return int(max(self.squared_norm - query_steps**2 - 1, NO_SCORE / 2))


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Principal axes, and a grid over the projections on them."""

    axes: Vectors  # [dim, a]
    centre: Vectors  # [a + 1]
    step: float  # of the members' grid

    @classmethod
    def fit(cls, embeddings: Vectors) -> Quantizer:
        """Fit axes and grid to a sample, float32 [n, dim], whose projections the box just holds."""
        centred = (embeddings - embeddings.mean(axis=0)).astype(np.float64)
        _, eigenvectors = np.linalg.eigh(centred.T @ centred)  # columns by growing variance
        principal = eigenvectors[:, ::-1][:, :AXES]  # [dim, a]
        # A random rotation evens out the variances: all axes share one step, which the widest would make coarse.
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(principal.shape[1], principal.shape[1])))
        axes = np.ascontiguousarray(principal @ rotation, np.float32)
        projections = _project(embeddings, axes)  # [n, a + 1]
        centre = projections.mean(axis=0)
        reach = float(np.abs(projections - centre).max())
        smallest = 1e-6 * (1 + float(np.abs(centre).max()))  # where the sample is a single point
        return cls(axes, centre, max(reach, smallest) / _MAX_CODE)

    @property
    def code_size(self) -> int:
        """Coordinates in a code: a + 1."""
        return len(self.centre)

    def encode(self, embeddings: Vectors) -> MemberCodes:
        """Return the codes of members, float32 [n, dim]."""
        codes, errors = self._quantize(embeddings, self.step)  # [n, a + 1], [n]
        # A query's code is shifted, which adds this many times the sum of b to its product with b.
        offsets = np.rint(-(codes**2).sum(axis=1) / 4 - _QUERY_SHIFT * codes.sum(axis=1))  # [n]
        return MemberCodes(codes.astype(np.int8), offsets.astype(np.int32), float(errors.max()))

    def encode_query(self, embedding: Vectors) -> QueryCode:
        """Return the code of a query, float32 [dim]."""
        codes, errors = self._quantize(embedding[None], 2 * self.step)  # [1, a + 1], [1]
        shifted = (codes + _QUERY_SHIFT).astype(np.uint8)
        return QueryCode(shifted, float((codes**2).sum()), float(errors[0]), self.step)

    def _quantize(self, embeddings: Vectors, step: float) -> tuple[Vectors, Vectors]:
        """Return integers [n, a + 1] of float32 [n, dim], and the length of each rounding error [n]."""
        reach = _MAX_CODE * self.step  # of the box, which is the same for members and queries
        clipped = (_project(embeddings, self.axes) - self.centre).clip(-reach, reach)  # [n, a + 1]
        codes = np.rint(clipped / step)
        return codes, np.linalg.norm(clipped - step * codes, axis=1)


def _project(embeddings: Vectors, axes: Vectors) -> Vectors:
    """Return the projections, float32 [n, a + 1], of float32 [n, dim]."""
    along = embeddings @ axes  # [n, a]
    left = np.linalg.norm(embeddings - along @ axes.T, axis=1)  # [n]
    return np.column_stack((along, left))
