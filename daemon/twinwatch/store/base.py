"""The store's contract: what the rest of the code may ask of a catalogue, whichever database holds it.

Terms: a *root* is a watched folder. A *file* is a path beneath a root. A *content* is what a sequence of bytes holds,
whichever files have it. A *verdict* says that one file is a copy of another. The *queue* holds the files that wait for
watching or judging. The *vectors* are the embeddings of all contents that can be originals.

A store belongs to the thread that opened it. What is written counts, also for the vectors, only after `commit`;
`rollback` takes it back. Every method may raise StorageError (try again) and CatalogError (the catalogue is damaged).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from twinwatch.fs import FileIdentity, StatTuple
from twinwatch.store.values import (
    Action,
    Content,
    ContentFiles,
    Dismissal,
    File,
    FileState,
    QueueState,
    Root,
    UnreadableFile,
    Verdict,
    VerdictState,
)

if TYPE_CHECKING:
    from twinwatch.search import Bundle, ExactIndex, Match


class Roots(Protocol):
    """The watched folders."""

    def all(self, path: Path | None = None) -> list[Root]:
        """Return the known roots, at one path if given; the one that was watched last comes first."""

    def add(self, path: Path, folder: tuple[int, int], watched_ns: int) -> Root:
        """Make a folder, its (device, inode), known as watched from `watched_ns` on."""

    def set_device(self, root_id: int, device: int) -> None:
        """Note that the folder's device has another number since the last boot."""

    def trip(self, root_id: int, reason: str, at: str) -> None:
        """Open the circuit breaker of a root: from now on its copies are only flagged. `at` is RFC 3339."""

    def resume(self, root_id: int) -> None:
        """Close the circuit breaker of a root."""


class Files(Protocol):
    """The files beneath the roots. The verbs that end a judgement also take the file out of the queue."""

    def get(self, file_id: int) -> File | None: ...

    def at(self, root_id: int, path: bytes) -> File | None:
        """Return the file that is known to be at a path now."""

    def in_folder(self, root_id: int, folder: bytes) -> dict[bytes, File]:
        """Return the files known directly in one folder of a root, by name."""

    def stats_in(self, root_id: int, folder: bytes) -> dict[bytes, StatTuple]:
        """Return, by name, the identities of the files that `in_folder` would return, as tuples."""

    def folders(self, root_id: int) -> list[bytes]:
        """Return every folder of a root in which files are known."""

    def count(self, root_id: int) -> int:
        """Return how many files are known to be in a root."""

    def ever_seen(self, path: Path) -> int:
        """Return how many files were ever known beneath a watched path, whichever folder was there."""

    def same_inode(self, file: File, identity: FileIdentity) -> list[File]:
        """Return the other files that were last seen as this inode, also those that are gone by now."""

    def unreadable(self, root_ids: Iterable[int] | None = None) -> list[UnreadableFile]:
        """Return the files that are no readable pictures, of these roots if given."""

    def begin(self, file_id: int, identity: FileIdentity, content_id: int, judged_ns: int) -> None:
        """Note which bytes a file holds that is being judged. It stays in the queue, in state NEW."""

    def confirm(self, file_id: int, identity: FileIdentity, state: FileState) -> None:
        """Note that a file holds the bytes that it was judged by."""

    def mark_kept(self, file_id: int) -> None:
        """End a judgement: the file is no copy."""

    def mark_duplicate(self, file_id: int) -> None:
        """End a judgement: the file is a copy and stays at its path."""

    def mark_quarantined(self, file_id: int) -> None:
        """End a judgement: the file is a copy and was moved to quarantine."""

    def mark_link(self, file_id: int, identity: FileIdentity, content_id: int) -> None:
        """End a judgement: the file is one more hard link of a known one."""

    def mark_unreadable(self, file_id: int, reason: str, forget_content: bool = False) -> None:
        """End a judgement: the file is no readable picture, or cannot be read now."""

    def dismiss(self, file_id: int) -> None:
        """Note that a person called a copy no duplicate. A queued file stays queued."""

    def mark_gone(self, file_id: int) -> None:
        """Note that a file has left its path. One that was not judged to the end is new wherever it turns up."""

    def invalidate(self, file_id: int) -> None:
        """Take a file out of the queue so that the next scan finds it changed, whatever is there then."""

    def place(
        self, file_id: int, root_id: int, path: bytes, identity: FileIdentity, state: FileState, queued: bool = False
    ) -> None:
        """Put a file at a path, in a state, in the queue to be judged or not. What was known there is gone."""


class Queue(Protocol):
    """Where watching and judging meet. It is as durable as the rest of the catalogue."""

    def add(
        self, root_id: int, path: bytes, seen: FileIdentity, preexisting: bool, arrived_ns: int, state: QueueState
    ) -> None:
        """Queue a new or changed file: WAITING, or FOUND until `release_found`."""

    def release_found(self) -> None:
        """Let what scans found be judged."""

    def next(self, limit: int, root_ids: Iterable[int], exclude: Iterable[int]) -> list[File]:
        """Return the next files to judge: pre-existing ones by modification time, then in order of arrival."""

    def count(self) -> int:
        """Return how many files wait to be judged, found or waiting."""

    def rejudge(self, file_id: int) -> None:
        """Let a file be judged as if it were new."""

    def rejudge_links(self, content_id: int) -> None:
        """Let the other names of a file be judged, as the name that stood for all of them is gone."""

    def rejudge_kept(self, content_ids: Iterable[int], since_ns: int, exclude: int) -> None:
        """Let the files be judged again that hold one of these contents and were kept since then."""

    def settle(self, file_id: int) -> None:
        """Let watching look at a file that is out of place, unless it is in the queue already."""

    def settle_changed(self, file_id: int) -> None:
        """Let watching look at a file that changes while it is read; whatever is there then counts as changed."""

    def take_to_settle(self, root_ids: Iterable[int]) -> list[tuple[int, bytes]]:
        """Take out what watching has to look at again: (root id, path)."""

    def report_gone(self, files: Collection[File]) -> None:
        """Hand judging the files that a scan missed, as far as nothing has become known of them since."""

    def gone(self, limit: int) -> list[File]:
        """Return the next files that a scan missed."""


class Contents(Protocol):
    """What bytes hold, and what each bundle makes of it."""

    def get(self, content_id: int) -> Content | None: ...

    def get_many(self, content_ids: Iterable[int]) -> dict[int, Content]:
        """Return those of these contents that are known, by id."""

    def by_sha256(self, sha256: str) -> Content | None: ...

    def known_sha256(self, size_bytes: int, bundle_id: str) -> frozenset[str]:
        """Return the hashes of contents of one size that need no decoding: no pictures, or embedded already.

        Empty where they are so many that handing them out would cost more than decoding.
        """

    def add(self, content: Content) -> Content:
        """Remember a content in place of what was known of these bytes; the result has its id."""

    def add_embedding(self, content_id: int, bundle_id: str, vector: NDArray[np.float32]) -> None:
        """Remember float32 [256] as what one bundle makes of a content."""

    def embedding(self, content_id: int, bundle_id: str) -> NDArray[np.float32] | None:
        """Return float32 [256], or None where this bundle has not embedded the content."""

    def lacking_embedding(
        self, bundle_id: str, limit: int, root_ids: Iterable[int], exclude: Iterable[int]
    ) -> list[File]:
        """Return one living file for each of the next contents that this bundle has not embedded yet."""

    def files_of(self, content_ids: Iterable[int]) -> dict[int, ContentFiles]:
        """Return which files hold each of these contents and can be originals."""


class Verdicts(Protocol):
    """Every verdict, oldest first."""

    def add(self, verdict: Verdict) -> None: ...

    def get(self, verdict_id: str) -> Verdict | None: ...

    def drop(self, verdict_id: str) -> None: ...

    def all(self, state: VerdictState | None = None, since: str | None = None) -> list[Verdict]:
        """Return verdicts, of one state and since an RFC 3339 time if given."""

    def latest_of(self, file_ids: Iterable[int]) -> dict[int, Verdict]:
        """Return the latest verdict on each of these files that has one, by file id."""

    def active(self, root_ids: Iterable[int]) -> list[Verdict]:
        """Return the verdicts that hold on files of these roots: flagged, and still there."""

    def quarantined(self) -> list[Verdict]:
        """Return the verdicts on what lies in quarantine."""

    def quarantined_count(self) -> int: ...

    def unlogged(self) -> list[Verdict]:
        """Return the verdicts for whose state the duplicates log has no line yet."""

    def claim(self, verdict: Verdict) -> bool:
        """Mark a verdict's state as logged; False where another process has, or the verdict has moved on."""

    def was_restored(self, root: bytes, path: bytes, sha256: str) -> bool:
        """True if a person restored these bytes to this path, or is restoring them now."""

    def mark_done(self, verdict_id: str, action: Action, quarantined_to: bytes | None = None) -> None: ...

    def set_state(self, verdict_id: str, state: VerdictState) -> None:
        """Set a state that is no event of its own: RESTORING, or back from it."""

    def mark_restored(self, verdict_id: str, restored_to: bytes, at: str) -> None: ...

    def mark_dismissed(self, verdict_id: str, at: str) -> None: ...

    def mark_removed(self, verdict_id: str, at: str) -> None: ...


class Dismissals(Protocol):
    """Pairs of contents that a person called no duplicates."""

    def add(self, sha256: str, other: str, time: str) -> None:
        """Remember a pair; the time of one that is known stays."""

    def of(self, sha256: str, others: Iterable[str]) -> frozenset[str]:
        """Return those of the others that a content is no duplicate of."""

    def all(self) -> list[Dismissal]: ...


class Missing(Protocol):
    """Originals that a search did not find in place, by file id, and since when (ns) copies may have missed them."""

    def all(self) -> dict[int, int]: ...

    def add(self, file_id: int, since_ns: int) -> None:
        """Record a missing original; keeps the earlier time if it is recorded already."""

    def remove(self, file_id: int) -> None: ...


class Vectors(Protocol):
    """The exact index over the embeddings of all contents that can be originals and are not blank.

    The store keeps it in step with the files. It is empty until `open`.
    """

    def open(self, bundle: Bundle) -> None:
        """Read the embeddings that a bundle made."""

    def query(self, embedding: NDArray[np.float32], radius: float, most: int | None = None) -> list[Match]:
        """Return the contents within L2 `radius` of float32 [256], nearest first, at the most `most`."""

    def cluster_of(self, content_id: int) -> int | None: ...

    def __contains__(self, content_id: int) -> bool: ...

    def needs_recluster(self) -> bool: ...

    def snapshot(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return content ids [N] and a copy of their embeddings [N, 256]."""

    def replace(self, fresh: ExactIndex) -> None:
        """Take over an index that was built from a snapshot; what came and went since is carried over."""


class Store(Protocol):
    """A catalogue, opened: one unit of work at a time."""

    @property
    def path(self) -> Path: ...

    @property
    def roots(self) -> Roots: ...

    @property
    def files(self) -> Files: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def contents(self) -> Contents: ...

    @property
    def verdicts(self) -> Verdicts: ...

    @property
    def dismissals(self) -> Dismissals: ...

    @property
    def missing(self) -> Missing: ...

    @property
    def vectors(self) -> Vectors: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...

    def version(self) -> object:
        """Return a value that differs as soon as anybody has changed the catalogue."""

    def check(self) -> str:
        """Return `ok`, or the first damage found."""

    def make_durable(self) -> None:
        """From now on a commit reaches the disk before it returns: for what cannot be rebuilt."""

    def counts(self) -> dict[str, int]:
        """Return the number of files by state; `waiting` counts the queue, `quarantined` the verdicts."""
