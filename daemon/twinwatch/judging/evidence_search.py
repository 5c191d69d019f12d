"""Whose copy is this? Candidates first, then evidence from the worker processes. It finds out and decides nothing."""

from __future__ import annotations

import sys
from concurrent.futures import Future, wait
from dataclasses import replace

import structlog

from twinwatch.errors import UnreadableError
from twinwatch.judging.candidates import Candidate, Candidates, Query, find_candidates, in_place
from twinwatch.judging.engine import Engine
from twinwatch.judging.outcomes import SearchResult
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.store import FileState, Store
from twinwatch.threads import Heartbeat
from twinwatch.wording import show_path
from twinwatch.workers import (
    CompareResult,
    CompareTask,
    ExpectedFile,
    FileChanged,
    FileGone,
    OutOfTime,
    WorkerCrashed,
)

_MAX_TRIES = 3  # at evidence that ran out of time on a busy machine; after that the file is kept
_BEAT_S = 1.0

_log = structlog.get_logger("twinwatch")


class QueryLostError(Exception):
    """The new file changed or vanished while evidence was sought."""


class OriginalFinder:
    """Searches store, index and pixels. `heartbeat` beats while it waits for evidence, which takes long."""

    def __init__(self, store: Store, engine: Engine, roots: WatchedRoots, heartbeat: Heartbeat) -> None:
        self._store = store
        self._bundle = engine.bundle
        self._workers = engine.workers
        self._roots = roots
        self._heartbeat = heartbeat
        self._tries: dict[int, int] = {}  # by file id, how often the evidence ran out of time
        # By file id, the comparison that was begun before the file's turn; None where nothing is near.
        self._prefetched: dict[int, tuple[CompareTask, Future[CompareResult]] | None] = {}

    def find(self, query: Query) -> SearchResult:
        """Return the original of a file, or that there is none, and what was missing meanwhile.

        Raises QueryLostError where the file is no longer what was embedded, and OSError or RootOffline where the
        answer is unknown now.
        """
        candidates = find_candidates(query, self._store, self._bundle, self._roots)
        if candidates.exact is not None:
            return _result(candidates, candidates.exact)
        if not candidates.near:
            return _result(candidates, None)
        compared = self._compare(query, self._task(query, candidates.near))
        if compared is not None and compared.match is not None:
            original = replace(candidates.near[compared.match.number], evidence=compared.match.evidence)
            return _result(candidates, original)
        unread = frozenset() if compared is None else compared.missing
        for number, candidate in enumerate(candidates.near):
            if number in unread or in_place(candidate.file, self._roots) is None:
                candidates.missing.add(candidate.file.id)
        return _result(candidates, None)

    def prefetch(self, query: Query) -> None:
        """Begin to seek evidence before the file's turn, for `find` to use if it then asks the same. Raises OSError."""
        self._prefetched[query.file.id] = None
        candidates = find_candidates(query, self._store, self._bundle, self._roots)
        if candidates.exact is None and candidates.near:
            task = self._task(query, candidates.near)
            self._prefetched[query.file.id] = task, self._workers.compare(task)

    def is_prefetched(self, file_id: int) -> bool:
        """True where all was done that can be done before the file's turn."""
        return file_id in self._prefetched

    def is_busy(self) -> bool:
        """True where the processes that compare have enough to do; what is sought sooner is outdated sooner."""
        running = sum(each is not None and not each[1].done() for each in self._prefetched.values())
        return running >= 2 * self._workers.compare_slots

    def keep_prefetched(self, file_ids: set[int]) -> None:
        """Cancel what was begun for all but these files."""
        for file_id in self._prefetched.keys() - file_ids:
            begun = self._prefetched.pop(file_id)
            if begun is not None:
                begun[1].cancel()

    def _task(self, query: Query, candidates: list[Candidate]) -> CompareTask:
        """Return the task of comparing a file with candidates in their order."""
        limits = self._workers.limits
        return CompareTask(
            ExpectedFile(query.ref, query.content.sha256),
            tuple(self._expected(each) for each in candidates),
            self._bundle.manifest.evidence_level,
            limits.max_file_mb << 20,
            limits.max_megapixels,
            limits.decode_seconds / 2,
        )

    def _expected(self, candidate: Candidate) -> ExpectedFile:
        file = candidate.file
        # A known copy comes after every original, however old it is.
        since_ns = sys.maxsize if file.state is FileState.DUPLICATE else file.judged_ns or 0
        return ExpectedFile(self._roots.require(file.root_id).ref(file.path), candidate.content.sha256, since_ns)

    def _compare(self, query: Query, task: CompareTask) -> CompareResult | None:
        """Return what a worker finds, or found ahead with everything in place; None where it could not compare."""
        begun = self._prefetched.pop(query.file.id, None)
        try:
            if begun is not None and begun[0] == task:
                found = self._await(begun[1])
                if not found.missing:
                    return found
            elif begun is not None:
                begun[1].cancel()
            self._cancel_prefetches()
            return self._await(self._workers.compare(task))
        except (FileGone, FileChanged):
            raise QueryLostError from None
        except (WorkerCrashed, OutOfTime, UnreadableError) as error:
            if isinstance(error, OutOfTime) and self._may_try_again(query.file.id):
                raise TimeoutError(str(error)) from None
            _log.warning("no evidence", path=show_path(query.file.path), why=str(error))
            return None

    def _await(self, search: Future[CompareResult]) -> CompareResult:
        while not search.done():
            wait([search], _BEAT_S)  # does not return when a future is cancelled
            self._heartbeat.beat()
        return search.result()

    def _cancel_prefetches(self) -> None:
        """Cancel what was begun ahead and waits for a process: it must not delay what is needed now."""
        begun = self._prefetched.items()
        cancelled = [file_id for file_id, each in begun if each is not None and each[1].cancel()]
        for file_id in cancelled:
            del self._prefetched[file_id]

    def _may_try_again(self, file_id: int) -> bool:
        tries = self._tries.pop(file_id, 0) + 1
        if tries < _MAX_TRIES:
            self._tries[file_id] = tries
        return tries < _MAX_TRIES


def _result(candidates: Candidates, original: Candidate | None) -> SearchResult:
    return SearchResult(
        original,
        frozenset(candidates.missing),
        frozenset(candidates.displaced),
        frozenset(candidates.overtaken),
    )
