"""Which files may be the original of a new one: those of the same bytes, else those near it. It compares no pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinwatch.fs import FileIdentity
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.search import MAX_CANDIDATES, Bundle, Match
from twinwatch.store import Content, ContentFiles, File, FileState, Kind, Store, Verdict
from twinwatch.workers import FileRef, RootOffline

if TYPE_CHECKING:
    from twinwatch.evidence import Evidence

_MAX_COPIES = 5  # known copies among the candidates: a folder may hold one picture in dozens of versions
_MAX_NEAR = 400  # neighbours that are looked through for candidates
_CONTENTS_AT_ONCE = 25  # neighbours asked of the store together; most candidates are among the first


@dataclass(frozen=True, slots=True)
class Query:
    """A file whose original is sought, as a worker read it and the encoder saw it: float32 [256] or None.

    `overtaken_by` are the ids of files that came later and were judged sooner: none of them is its original.
    """

    file: File
    ref: FileRef
    content: Content
    embedding: NDArray[np.float32] | None
    overtaken_by: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A living file that may be the original, and what ties the two. For equal bytes the kind says it all."""

    file: File
    content: Content
    kind: Kind
    distance: float | None = None
    cluster: int | None = None
    evidence: Evidence | None = None


@dataclass(slots=True)
class Candidates:
    """What one look at store and index found: `exact`, or else `near`, nearest first with known copies last.

    `missing`, `displaced` and `overtaken` are as in SearchResult.
    """

    exact: Candidate | None = None
    near: list[Candidate] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    displaced: set[int] = field(default_factory=set)
    overtaken: set[int] = field(default_factory=set)


def find_candidates(query: Query, store: Store, bundle: Bundle, roots: WatchedRoots) -> Candidates:
    """Return the candidates of a file. Raises OSError or RootOffline where they are unknown now."""
    look = _Look(query, store, bundle, roots)
    found = look.found
    same = next(look.holding(query.content), None)
    if same is not None:
        found.exact = Candidate(same, query.content, Kind.EXACT)
    elif query.embedding is not None and not query.content.blank:
        found.near = look.near(query.embedding)
    return found


def in_place(file: File, roots: WatchedRoots) -> FileIdentity | None:
    """Return what is at the path of a file if it is still what was judged there.

    Raises RootOffline where its root has just gone, which the monitor has not noticed yet: soon it is back or detached.
    """
    root = roots.get(file.root_id)
    if root is None:
        return None
    there = root.unchanged(file.path, file.identity)
    if there is None and not root.is_online():
        raise RootOffline(f"{root.path} has just gone")
    return there


class _Look:
    """One look for the candidates of one file; `found` gathers what it comes upon."""

    def __init__(self, query: Query, store: Store, bundle: Bundle, roots: WatchedRoots) -> None:
        self._query = query
        self._store = store
        self._bundle = bundle
        self._roots = roots
        self.found = Candidates()

    def holding(self, content: Content) -> Iterator[File]:
        """Yield the living files that hold a content, unless it was dismissed as the original of the query."""
        is_known = content.id != 0
        if is_known and not self._store.dismissals.of(self._query.content.sha256, [content.sha256]):
            yield from self._living(self._store.contents.files_of([content.id])[content.id])

    def near(self, embedding: NDArray[np.float32]) -> list[Candidate]:
        """Return the nearest contents with one living file each: originals first, known copies last.

        Between the two come the originals of those copies, however far they lie: a stronger edit may lie nearer to a
        copy than to the original.
        """
        originals: list[Candidate] = []
        copies: list[tuple[Candidate, Verdict | None]] = []
        for candidate, verdict in self._neighbours(embedding):
            if candidate.file.state is FileState.DUPLICATE:
                copies.append((candidate, verdict))
            else:
                originals.append(candidate)
            if len(originals) == MAX_CANDIDATES:
                break
        copies = copies[:_MAX_COPIES]
        near = {candidate.content.sha256 for candidate in originals}
        originals_of_copies = (verdict.original_sha256 for _, verdict in copies if verdict is not None)
        far = dict.fromkeys(sha256 for sha256 in originals_of_copies if sha256 not in near)
        further = (self._far(sha256, embedding) for sha256 in far)
        return [*originals, *(each for each in further if each is not None), *(copy for copy, _ in copies)]

    def _neighbours(self, embedding: NDArray[np.float32]) -> Iterator[tuple[Candidate, Verdict | None]]:
        """Yield what lies near, nearest first: a living file each, and the latest verdict on it.

        Left out are contents that a person dismissed, and copies of those, which would bring them back.
        """
        query = self._query
        matches = self._store.vectors.query(embedding, self._bundle.radius(embedding), _MAX_NEAR)
        for start in range(0, len(matches), _CONTENTS_AT_ONCE):
            part = [match for match in matches[start : start + _CONTENTS_AT_ONCE] if match.key != query.content.id]
            keys = [match.key for match in part]
            contents, files = self._store.contents.get_many(keys), self._store.contents.files_of(keys)
            held = itertools.chain.from_iterable(each.originals for each in files.values())
            verdicts = self._store.verdicts.latest_of(file.id for file in held if file.state is not FileState.KEPT)
            named = {other.sha256 for other in contents.values()}
            named |= {verdict.original_sha256 for verdict in verdicts.values()}
            dismissed = self._store.dismissals.of(query.content.sha256, named)
            for match in part:
                content = contents.get(match.key)
                if content is None or content.sha256 in dismissed:
                    continue
                for file in self._living(files[match.key]):
                    verdict = verdicts.get(file.id)
                    if verdict is None or verdict.original_sha256 not in dismissed:
                        yield _near(file, content, match), verdict
                        break

    def _far(self, sha256: str, embedding: NDArray[np.float32]) -> Candidate | None:
        """Return the candidate that holds certain bytes, whatever its distance."""
        content = self._store.contents.by_sha256(sha256)
        vector = None if content is None else self._store.contents.embedding(content.id, self._bundle.id)
        file = None if content is None else next(self.holding(content), None)
        if content is None or vector is None or file is None or content.id == self._query.content.id:
            return None
        distance = float(np.linalg.norm(vector - embedding))
        return Candidate(file, content, Kind.NEAR, distance, self._store.vectors.cluster_of(content.id))

    def _living(self, files: ContentFiles) -> Iterator[File]:
        """Yield the files that are still what was judged; note the others in `found`."""
        self.found.missing.update(queued.id for queued in files.queued)
        new = self._query.file
        for file in files.originals:
            if file.id == new.id:
                continue
            root = self._roots.get(file.root_id)
            there = in_place(file, self._roots)
            if there is None or root is None:
                self.found.missing.add(file.id)
                if root is not None:
                    self.found.displaced.add(file.id)
            elif (there.device, there.inode) == (new.identity.device, new.identity.inode):
                continue
            elif file.id in self._query.overtaken_by:
                self.found.overtaken.add(file.id)
            else:
                yield file


def _near(file: File, content: Content, match: Match) -> Candidate:
    return Candidate(file, content, Kind.NEAR, match.distance, match.cluster)
