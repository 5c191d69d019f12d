"""What is known about a file at the moment it is judged: read once, then only decided upon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinwatch.fs import FileIdentity
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.store import Content, File, FileState, Store, Verdict, VerdictState
from twinwatch.workers import FileRef, Inspection

_STATE_OF_VERDICT = {VerdictState.DONE: FileState.DUPLICATE, VerdictState.RESTORED: FileState.RESTORED}
_UNJUDGED = (FileState.GONE, FileState.NEW, FileState.LINK, FileState.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file with what the worker and the encoder made of it: `inspection` or `failure`, float32 [256] or None."""

    file: File
    ref: FileRef
    inspection: Inspection | None
    failure: BaseException | None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class OtherName:
    """Another file that was last seen as the same inode, and holds the same content.

    `state` is what it was judged to be, NEW if never to the end; `is_there` says whether the inode is still at its
    path. Names that are there come first.
    """

    file: File
    state: FileState
    is_there: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """One file as it is in the catalogue and on the disk.

    `content` and `identity` are what the worker read, None where that failed. `state_before` is what the file was
    judged to be when it last held this content.
    """

    arrival: Arrival
    file: File
    content: Content | None = None
    identity: FileIdentity | None = None
    state_before: FileState = FileState.NEW
    other_names: tuple[OtherName, ...] = ()


def gather(store: Store, roots: WatchedRoots, arrival: Arrival, content: Content | None) -> Facts | None:
    """Read what is known of a file that arrived with a content; None for one that has left its path meanwhile.

    Raises OSError where a path cannot be looked at now.
    """
    file = store.files.get(arrival.file.id)
    if file is None or file.state in (FileState.GONE, FileState.QUARANTINED):
        return None
    if arrival.inspection is None or content is None:
        return Facts(arrival, file)
    identity = arrival.inspection.identity
    return Facts(
        arrival,
        file,
        content,
        identity,
        _state_before(store, file, content) if file.state is FileState.UNREADABLE else file.state,
        _other_names(store, roots, file, identity, content),
    )


def _other_names(
    store: Store, roots: WatchedRoots, file: File, identity: FileIdentity, content: Content
) -> tuple[OtherName, ...]:
    found = []
    for other in store.files.same_inode(file, identity):
        if other.content_id == content.id:
            root = roots.get(other.root_id)
            there = None if root is None or other.state is FileState.GONE else root.stat(other.path)
            is_there = there is not None and (there.device, there.inode) == (identity.device, identity.inode)
            # A row that only ever stood for a hard link says nothing of how its file was judged.
            was_judged = other.state not in (FileState.NEW, FileState.LINK) and other.judged_ns is not None
            state = _state_before(store, other, content) if was_judged else FileState.NEW
            found.append(OtherName(other, state, is_there))
    return tuple(sorted(found, key=lambda name: not name.is_there))


def _state_before(store: Store, file: File, content: Content) -> FileState:
    if file.state not in _UNJUDGED:
        return file.state
    verdict: Verdict | None = store.verdicts.latest_of([file.id]).get(file.id)
    if verdict is not None and verdict.sha256 == content.sha256:
        return _STATE_OF_VERDICT.get(verdict.state, FileState.KEPT)
    return FileState.KEPT if content.reason is None else FileState.UNREADABLE
