"""What the catalogue holds, as values: roots, files, contents and verdicts, and the states they pass through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinwatch.fs import FileIdentity


class FileState(StrEnum):
    """What became of a file. Files in the last two states have left their path."""

    NEW = "new"  # not judged to the end
    KEPT = "kept"
    DUPLICATE = "duplicate"  # a flagged copy, still at its path
    RESTORED = "restored"  # put back by a person
    LINK = "link"  # one more hard link of a known file
    UNREADABLE = "unreadable"
    GONE = "gone"
    QUARANTINED = "quarantined"


ORIGINAL_STATES = (FileState.KEPT, FileState.DUPLICATE, FileState.RESTORED)
"""Files in these states can be the original of a copy. Known copies come last."""


class QueueState(StrEnum):
    """Why a file is in the queue."""

    FOUND = "found"  # by a scan that has not ended yet
    WAITING = "waiting"  # to be judged
    SETTLE = "settle"  # judging saw it change or move: watching has to look at it again
    GONE = "gone"  # a scan no longer found it: judging has to forget it


class VerdictState(StrEnum):
    """How far a verdict has come. The duplicates log has a line for each of the last four."""

    PENDING = "pending"  # recorded, the file not moved yet
    RESTORING = "restoring"
    DONE = "done"
    RESTORED = "restored"
    DISMISSED = "dismissed"
    REMOVED = "removed"  # somebody took the file out of quarantine by hand


class Kind(StrEnum):
    """How a copy resembles its original: the same bytes, or pixels that line up."""

    EXACT = "exact"
    NEAR = "near"


class Action(StrEnum):
    """What was done about a copy."""

    FLAGGED = "flagged"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Root:
    """A watched folder: its path, its (device, inode), since when it is watched.

    `tripped` says why its circuit breaker is open, so that copies are only flagged; None while it is closed.
    """

    id: int
    path: bytes
    folder: tuple[int, int]
    watched_ns: int
    tripped: str | None
    tripped_at: str | None  # RFC 3339


@dataclass(frozen=True, slots=True)
class File:
    """One file at a path beneath a root.

    `preexisting` files were there before their root was first watched. `judged_ns` is when the present content was
    judged; the earliest one is the original.
    """

    id: int
    root_id: int
    path: bytes
    identity: FileIdentity
    content_id: int | None
    state: FileState
    preexisting: bool
    judged_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What a sequence of bytes holds. `reason` says why it is no picture; None for a picture.

    `blank` pictures are copies by equal bytes only: uniform ones, and those of several frames or pages.
    """

    id: int
    sha256: str
    size_bytes: int
    reason: str | None
    width: int
    height: int
    format: str
    blank: bool


@dataclass(frozen=True, slots=True)
class ContentFiles:
    """The files that hold a content and can be originals: known copies last, else the earliest judged first.

    `queued` are those of them that wait to be judged again, so that their present bytes are not known.
    """

    originals: list[File]
    queued: list[File]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file (its absolute path) that is no readable picture, and why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict as it is remembered, logged and listed. Paths are bytes, relative to their roots.

    `time` is when it was given, `event_at` when it was restored, dismissed or removed; both RFC 3339. `logged` is the
    last state for which the duplicates log has a line.
    """

    id: str
    file_id: int | None
    time: str
    root: bytes
    path: bytes
    sha256: str
    original_root: bytes
    original_path: bytes
    original_sha256: str
    kind: Kind
    distance: float | None
    cluster: int | None
    evidence: float | None
    edit: str
    action: Action
    better: bool
    quarantined_to: bytes | None = None
    restored_to: bytes | None = None
    state: VerdictState = VerdictState.PENDING
    logged: str = ""
    event_at: str | None = None


@dataclass(frozen=True, slots=True)
class Dismissal:
    """Two contents, by sha256, that a person called no duplicates of each other, and when."""

    one: str
    other: str
    time: str
