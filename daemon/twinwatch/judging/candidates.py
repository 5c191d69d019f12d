"""Whose copy is this? Looks for a living original: the same bytes first, then near pictures whose pixels line up.

It finds out and decides nothing; what follows from the finding is `policy`'s to say.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from twinwatch.errors import UnreadableError
from twinwatch.fs import FileIdentity
from twinwatch.judging.policy import Kind
from twinwatch.judging.watched_root import WatchedRoot
from twinwatch.search import MAX_CANDIDATES, Bundle, ExactIndex
from twinwatch.store import Catalog, Content, ContentFiles, File, Verdict
from twinwatch.wording import show_path
from twinwatch.workers import (
    CompareResult,
    CompareTask,
    ExpectedFile,
    FileChanged,
    FileGone,
    FileRef,
    OutOfTime,
    RootOffline,
    WorkerCrashed,
    WorkerPool,
)

if TYPE_CHECKING:
    from twinwatch.evidence import Evidence

_COPIES = 5  # known copies that are nominated too: a folder may hold one picture in dozens of versions
_LOOKED_AT = 400
_TRIES = 3  # at evidence that there was no time for; where the machine was busy there is later, else it is kept
_BEAT_S = 1.0
_ASKED_AT_ONCE = 25  # contents that the catalogue is asked for; the nominees are mostly among the first

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class Original:
    """A living file that a newcomer is a copy of, and what ties the two; for equal bytes the kind says it all."""

    file: File
    content: Content
    kind: Kind
    distance: float | None = None
    cluster: int | None = None
    evidence: Evidence | None = None


class NewcomerLostError(Exception):
    """The newcomer changed or vanished while evidence was sought."""


class OriginalFinder:
    """Searches the catalogue and the index. `look_again` takes a root and a path in it that should settle anew.

    `beat` is called now and then while evidence is waited for, which takes as long as decoders may.
    `younger` holds what the last search came upon and passed over, as it came after the newcomer; `absent` the ids of
    what it did not find in place, which may be on its way to another name, or is just being judged again.
    """

    def __init__(
        self,
        catalog: Catalog,
        bundle: Bundle,
        workers: WorkerPool,
        grounds: Mapping[int, WatchedRoot],
        look_again: Callable[[Path, bytes], None],
        beat: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._bundle = bundle
        self._workers = workers
        self._grounds = grounds
        self._look_again = look_again
        self._beat = beat
        self._tries: dict[int, int] = {}  # by id of the newcomer, how often there was no time for its evidence
        self._passed_over: frozenset[int] = frozenset()
        self.younger: list[File] = []
        self.absent: set[int] = set()
        self._ahead: dict[
            int, tuple[CompareTask, Future[CompareResult]] | None
        ] = {}  # by id of the newcomer; None: nobody is near

    def find(
        self,
        newcomer: File,
        place: FileRef,
        content: Content,
        embedding: NDArray[np.float32] | None,
        index: ExactIndex,
        but: frozenset[int] = frozenset(),
    ) -> Original | None:
        """Return the original of a newcomer with its content and embedding, float32 [256], or None.

        No file in `but` (ids) is one. Raises NewcomerLostError where the newcomer is no longer what was embedded, and
        OSError or RootOffline where it cannot be told now.
        """
        self._passed_over, self.younger, self.absent = but, [], set()
        twin = next(self._holding(content, newcomer, content), None)
        if twin is not None:
            return Original(twin, content, "exact")
        if content.blank or embedding is None:
            return None
        nominees = self._nominees(newcomer, content, embedding, index)
        search = self._search(newcomer, self._task(place, content, nominees)) if nominees else None
        if search is None or search.match is None:
            missing = frozenset() if search is None else search.missing
            gone = (each for number, each in enumerate(nominees) if number in missing or self._there(each.file) is None)
            self.absent.update(each.file.id for each in gone)
            return None
        return replace(nominees[search.match.number], evidence=search.match.evidence)

    def foresee(
        self, newcomer: File, place: FileRef, content: Content, embedding: NDArray[np.float32], index: ExactIndex
    ) -> None:
        """Let evidence be sought before the newcomer's turn; `find` takes it if it then asks for the very same.

        Raises OSError.
        """
        self._passed_over, self._ahead[newcomer.id] = frozenset(), None
        if not content.blank and next(self._holding(content, newcomer, content), None) is None:
            nominees = self._nominees(newcomer, content, embedding, index)
            if nominees:
                task = self._task(place, content, nominees)
                self._ahead[newcomer.id] = task, self._workers.compare(task)

    def foreseen(self, newcomer: int) -> bool:
        """True where all was done that can be done before its turn."""
        return newcomer in self._ahead

    def seeks_enough(self) -> bool:
        """True where the processes that compare have enough to do; what is sought sooner is outdated sooner."""
        sought = sum(each is not None and not each[1].done() for each in self._ahead.values())
        return sought >= 2 * self._workers.compare_slots

    def forget_all_but(self, newcomers: set[int]) -> None:
        """Drop what was sought ahead for all but these ids."""
        for newcomer in self._ahead.keys() - newcomers:
            sought = self._ahead.pop(newcomer)
            if sought is not None:
                sought[1].cancel()

    def _nominees(
        self, newcomer: File, content: Content, embedding: NDArray[np.float32], index: ExactIndex
    ) -> list[Original]:
        """Return the nearest contents with one living file each: originals first, copies last.

        Between them stands what those copies are copies of, however far it lies.
        """
        originals: list[Original] = []
        copies: list[tuple[Original, Verdict | None]] = []
        for nominee, case in self._near(newcomer, content, embedding, index):
            if nominee.file.state == "duplicate":
                copies.append((nominee, case))
            else:
                originals.append(nominee)
            if len(originals) == MAX_CANDIDATES:
                break
        copies = copies[:_COPIES]
        near = {nominee.content.sha256 for nominee in originals}
        originals_of_copies = (case.original_sha256 for _, case in copies if case is not None)
        far = dict.fromkeys(sha256 for sha256 in originals_of_copies if sha256 not in near)
        further = (self._holding_far(sha256, newcomer, content, embedding, index) for sha256 in far)
        return [*originals, *(each for each in further if each is not None), *(copy for copy, _ in copies)]

    def _near(
        self, newcomer: File, content: Content, embedding: NDArray[np.float32], index: ExactIndex
    ) -> Iterator[tuple[Original, Verdict | None]]:
        """Yield what lies near, the nearest first: a living file each, and the latest verdict on it.

        Left out is what a person said a content is no copy of, and copies of that: to follow them would say it again.
        """
        matches = index.query(embedding, self._bundle.radius(embedding), _LOOKED_AT)
        for start in range(0, len(matches), _ASKED_AT_ONCE):
            part = [match for match in matches[start : start + _ASKED_AT_ONCE] if match.key != content.id]
            keys = [match.key for match in part]
            contents, holders = self._catalog.contents(keys), self._catalog.holders(keys)
            held = itertools.chain.from_iterable(each.originals for each in holders.values())
            cases = self._catalog.cases.latest_of(file.id for file in held if file.state != "kept")
            named = {other.sha256 for other in contents.values()} | {case.original_sha256 for case in cases.values()}
            dismissed = self._catalog.cases.dismissed(content.sha256, named)
            for match in part:
                other = contents.get(match.key)
                if other is None or other.sha256 in dismissed:
                    continue
                for file in self._living(holders[match.key], newcomer):
                    case = cases.get(file.id)
                    if case is None or case.original_sha256 not in dismissed:
                        yield Original(file, other, "near", match.distance, match.cluster), case
                        break

    def _holding_far(
        self, sha256: str, newcomer: File, content: Content, embedding: NDArray[np.float32], index: ExactIndex
    ) -> Original | None:
        """Return who holds certain bytes, however far they lie: a stronger edit may lie near another copy only."""
        other = self._catalog.content_of(sha256)
        vector = None if other is None else self._catalog.embedding(other.id, self._bundle.id)
        file = None if other is None else next(self._holding(other, newcomer, content), None)
        if other is None or vector is None or file is None or other.id == content.id:
            return None
        return Original(file, other, "near", float(np.linalg.norm(vector - embedding)), index.cluster_of(other.id))

    def _holding(self, content: Content, newcomer: File, newcomer_content: Content) -> Iterator[File]:
        """Yield the living files that hold a content, unless it was dismissed as the newcomer's original."""
        known = content.id != 0  # else the catalogue has yet to hear of it
        if known and not self._catalog.cases.dismissed(newcomer_content.sha256, [content.sha256]):
            yield from self._living(self._catalog.holders([content.id])[content.id], newcomer)

    def _living(self, holders: ContentFiles, newcomer: File) -> Iterator[File]:
        """Yield those who are still what was judged."""
        self.absent.update(queued.id for queued in holders.queued)
        for original in holders.originals:
            ground = self._grounds.get(original.root_id)
            if original.id == newcomer.id:
                continue
            there = self._there(original)
            if there is None or ground is None:
                self.absent.add(original.id)
                if ground is not None:
                    self._look_again(ground.path, original.path)
            elif (there.device, there.inode) == (newcomer.identity.device, newcomer.identity.inode):
                continue
            elif original.id in self._passed_over:
                self.younger.append(original)
            else:
                yield original

    def _there(self, file: File) -> FileIdentity | None:
        """Return what is at the path of a file if it is still what was judged there.

        Raises RootOffline where its root has just gone, which the monitor has not noticed yet.
        """
        ground = self._grounds.get(file.root_id)
        if ground is None:
            return None
        there = ground.unchanged(file.path, file.identity)
        if there is None and not ground.stands():
            raise RootOffline(f"{ground.path} has just gone")
        return there

    def _task(self, place: FileRef, content: Content, nominees: list[Original]) -> CompareTask:
        """To look at the nominees in their order."""
        return CompareTask(
            ExpectedFile(place, content.sha256),
            tuple(self._nominee(each) for each in nominees),
            self._bundle.manifest.evidence_level,
            self._workers.limits.max_file_mb << 20,
            self._workers.limits.max_megapixels,
            self._workers.limits.decode_seconds / 2,
        )

    def _search(self, newcomer: File, task: CompareTask) -> CompareResult | None:
        """Return what a worker found, or has found ahead, if everything was in place then; None where it could not."""
        sought = self._ahead.pop(newcomer.id, None)
        try:
            if sought is not None and sought[0] == task:
                search = self._awaited(sought[1])
                if not search.missing:
                    return search
            elif sought is not None:
                sought[1].cancel()
            self._make_way()
            return self._awaited(self._workers.compare(task))
        except (FileGone, FileChanged):
            raise NewcomerLostError from None
        except (WorkerCrashed, OutOfTime, UnreadableError) as error:
            if isinstance(error, OutOfTime) and self._is_to_be_tried_again(newcomer):
                raise TimeoutError(str(error)) from None
            _log.warning("no evidence", path=show_path(newcomer.path), why=str(error))
            return None

    def _awaited(self, search: Future[CompareResult]) -> CompareResult:
        while not search.done():
            wait([search], _BEAT_S)  # which does not see that one was cancelled
            self._beat()
        return search.result()

    def _make_way(self) -> None:
        """Drop what is sought ahead and not begun: nothing that can wait shall hold up what is asked for now."""
        dropped = [newcomer for newcomer, sought in self._ahead.items() if sought is not None and sought[1].cancel()]
        for newcomer in dropped:
            del self._ahead[newcomer]

    def _is_to_be_tried_again(self, newcomer: File) -> bool:
        tries = self._tries.pop(newcomer.id, 0) + 1
        if tries < _TRIES:
            self._tries[newcomer.id] = tries
        return tries < _TRIES

    def _nominee(self, original: Original) -> ExpectedFile:
        file = original.file
        # A known copy comes after every original, however old it is.
        since_ns = sys.maxsize if file.state == "duplicate" else file.kept_ns or 0
        ground = self._grounds.get(file.root_id)
        if ground is None:
            raise RootOffline("the folder of an original went away meanwhile")
        return ExpectedFile(ground.place(file.path), original.content.sha256, since_ns)
