"""The judgement of one file: gather facts, decide, search if need be, decide again, apply.

Judgements are serial and in order of arrival, so two copies that arrive together never accuse each other.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from twinwatch.judging.apply import Applier, content_of
from twinwatch.judging.candidates import Query
from twinwatch.judging.decide import decide
from twinwatch.judging.engine import Engine
from twinwatch.judging.evidence_search import OriginalFinder, QueryLostError
from twinwatch.judging.facts import Arrival, Facts, gather
from twinwatch.judging.outcomes import Outcome, SearchNeeded, SearchResult, SettleAgain
from twinwatch.judging.policy import RootRules
from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.store import FileState, Store
from twinwatch.threads import Heartbeat

_NO_RULES = RootRules(quarantine=False, protect=False)


class Judge:
    """Judges the files of one store, whose vectors it opens."""

    def __init__(self, store: Store, engine: Engine, roots: WatchedRoots, heartbeat: Heartbeat) -> None:
        store.vectors.open(engine.bundle)
        self.store = store
        self.heartbeat = heartbeat
        self.applier = Applier(store, engine.bundle, roots)
        self._bundle = engine.bundle
        self._roots = roots
        self._finder = OriginalFinder(store, engine, roots, heartbeat)

    def judge(self, arrival: Arrival, overtaken_by: frozenset[int] = frozenset()) -> bool:
        """Judge one file and record what comes of it; False if it stays queued, to be judged again in a while.

        `overtaken_by` are the ids of files that came after it and were judged before it. Raises RootOffline or OSError
        where it has to wait, StorageError likewise.
        """
        content = self.applier.remember(arrival)
        facts = gather(self.store, self._roots, arrival, content)
        outcome = decide(facts, None, _NO_RULES, self._bundle.manifest.evidence_level)
        if isinstance(outcome, SearchNeeded) and facts is not None:
            self._roots.require(facts.file.root_id)
            self.applier.apply(outcome, facts)
            facts, outcome = self._search(facts, overtaken_by)
        return self.applier.apply(outcome, facts)

    def prefetch(self, now: Arrival, next_ones: list[Arrival]) -> None:
        """Begin to seek evidence for the files that come next, while `now` is judged. It saves time and no more."""
        self._finder.keep_prefetched({arrival.file.id for arrival in (now, *next_ones)})
        for arrival in next_ones:
            if self._finder.is_prefetched(arrival.file.id):
                continue
            if self._finder.is_busy():
                break
            # Whatever fails here is met again on the file's turn, and dealt with there.
            with contextlib.suppress(Exception):
                self._prefetch(arrival)

    def _search(self, facts: Facts, overtaken_by: frozenset[int]) -> tuple[Facts | None, Outcome]:
        """Look for the original of a new file, and decide on what the file is by then."""
        try:
            search = self._find(facts, overtaken_by)
        except QueryLostError:
            return facts, SettleAgain()
        file = self.store.files.get(facts.file.id)
        current = None if file is None else replace(facts, file=file)
        rules = _NO_RULES if search.original is None else self._rules(facts.file.root_id)
        return current, decide(current, search, rules, self._bundle.manifest.evidence_level)

    def _find(self, facts: Facts, overtaken_by: frozenset[int]) -> SearchResult:
        assert facts.content is not None and facts.identity is not None
        ref, content = facts.arrival.ref, facts.content
        if self.store.verdicts.was_restored(os.fsencode(ref.root), facts.file.path, content.sha256):
            return SearchResult()
        embedding = facts.arrival.embedding
        if embedding is None:
            embedding = self.store.contents.embedding(content.id, self._bundle.id)
        file = replace(facts.file, identity=facts.identity, content_id=content.id, state=FileState.NEW)
        return self._finder.find(Query(file, ref, content, embedding, overtaken_by))

    def _prefetch(self, arrival: Arrival) -> None:
        file, seen = arrival.file, arrival.inspection
        if file.state is not FileState.NEW or seen is None or arrival.embedding is None:
            return
        content = self.store.contents.by_sha256(seen.sha256) or content_of(seen)
        current = replace(file, identity=seen.identity)
        self._finder.prefetch(Query(current, arrival.ref, content, arrival.embedding))

    def _rules(self, root_id: int) -> RootRules:
        root = self._roots.require(root_id)
        tripped = next((known.tripped for known in self.store.roots.all() if known.id == root_id), None)
        return RootRules(root.quarantine is not None, root.protect, tripped or None)
