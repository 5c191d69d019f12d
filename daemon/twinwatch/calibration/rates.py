"""Rates with confidence bounds, and how many trials a claim needs.

The bounds are exact for a binomial share (Clopper and Pearson 1934), so they hold for rare events and few trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_TAIL = 0.025  # on each side: 95% confidence


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `of` trials, at least one, and the bounds of the true share with 95% confidence; shares are 0 to 1."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        """The measured share."""
        return self.hits / self.of

    @property
    def low(self) -> float:
        """The lower bound."""
        return 0.0 if self.hits == 0 else _solve(lambda share: 1 - _at_most(self.hits - 1, self.of, share) > _TAIL)

    @property
    def high(self) -> float:
        """The upper bound."""
        return 1.0 if self.hits == self.of else _solve(lambda share: _at_most(self.hits, self.of, share) <= _TAIL)


def trials_needed(share: float) -> int:
    """Return the smallest number of trials that, without any hit, puts the upper bound at `share` or below."""
    return 1 if share >= 1 else math.ceil(math.log(_TAIL) / math.log1p(-share))


def _at_most(hits: int, of: int, share: float) -> float:
    """P(X <= hits) for X binomial of `of` trials; through logarithms, as large factorials overflow."""
    if share <= 0 or share >= 1:
        return float(share <= 0 or hits >= of)
    whole = math.lgamma(of + 1)
    return math.fsum(
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(share) + (of - k) * math.log1p(-share)
        )
        for k in range(hits + 1)
    )


def _solve(beyond: Callable[[float], bool]) -> float:
    """Find by bisection the share in 0 to 1 above which `beyond` holds."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high
