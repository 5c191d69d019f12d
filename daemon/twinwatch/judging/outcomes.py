"""What can come of judging a file: values without behaviour, made by `decide` and carried out by `apply`."""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.judging.candidates import Candidate
from twinwatch.judging.policy import Decision
from twinwatch.store import FileState


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one search for an original found out.

    `missing` are the ids of candidates that were not in place, or wait to be judged again; `displaced` those of them
    that watching should look at. `overtaken` are the ids of originals that were passed over, as they came later.
    """

    original: Candidate | None = None
    missing: frozenset[int] = frozenset()
    displaced: frozenset[int] = frozenset()
    overtaken: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Superseded:
    """The file has left its path, or was changed while it was judged: its present state waits in the queue."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is at its path any more."""


@dataclass(frozen=True, slots=True)
class SettleAgain:
    """It changes while it is read: watching has to wait until it is still."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is no readable picture, or cannot be read now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """It holds what it was judged by: touched, readable again, or read for a new bundle."""

    state: FileState


@dataclass(frozen=True, slots=True)
class HardLink:
    """It is one more name of a known file, which is still at its own path."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """It is a known file, by id, under a new name. One that was not judged to the end stays queued."""

    known_id: int
    state: FileState


@dataclass(frozen=True, slots=True)
class SearchNeeded:
    """It is new: an original has to be looked for."""


@dataclass(frozen=True, slots=True)
class Kept:
    """It is no copy. Later files that are `overtaken` may be copies of it."""

    search: SearchResult


@dataclass(frozen=True, slots=True)
class Duplicate:
    """It is a copy of `original`, and `decision` says what is done about it."""

    original: Candidate
    decision: Decision
    search: SearchResult


Outcome = (
    Superseded | Gone | SettleAgain | Unreadable | Unchanged | HardLink | Renamed | SearchNeeded | Kept | Duplicate
)
