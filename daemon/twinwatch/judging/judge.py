"""The committing thread's work on one file: is it known, a link, a copy, or new? Facts in, a recorded outcome out.

Decisions are serial and in order of arrival, so two copies that arrive together never accuse each other.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from twinwatch.clock import utc_now
from twinwatch.errors import QuarantineError, UnreadableError
from twinwatch.fs import TRANSIENT_ERRNOS, FileIdentity, stat_regular
from twinwatch.judging.candidates import NewcomerLostError, Original, OriginalFinder
from twinwatch.judging.policy import Action, Decision, Finding, RootRules, judge
from twinwatch.judging.removal import move, verdict_of
from twinwatch.judging.watched_root import WatchedRoot
from twinwatch.quarantine import BusyError, ChangedError, StorageFaultError
from twinwatch.search import Bundle, ExactIndex
from twinwatch.store import ORIGINALS, Catalog, Content, File, Verdict
from twinwatch.wording import show_path
from twinwatch.workers import FileChanged, FileGone, FileRef, Inspection, RootOffline, WorkerCrashed, WorkerPool

_MOST_ABSENT = 10_000  # a file that was deleted stays among them until so many others were
_ABSENT_AT_ONCE = 256
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 4.0, 3600.0
_NEVER = -1  # a time that no file has: whatever is there next counts as changed, also for the scan

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file with what the worker and the encoder made of it: `inspection` or `failure`, float32 [256] or None."""

    file: File
    place: FileRef
    inspection: Inspection | None
    failure: BaseException | None
    embedding: NDArray[np.float32] | None = None


@dataclass(slots=True)
class _Absent:
    """Of a file that a search may have missed: since when, and when (monotonic) it is next looked for."""

    since_ns: int
    due_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    lasting: bool = False  # it was looked for, and was not there


class Judge:
    """Owns one catalogue connection, and the index of what that holds. Nothing counts before `commit`.

    `look_again` takes a root and a path in it that should settle anew; `beat` is called while evidence is waited for.
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
        self.catalog = catalog
        self._bundle = bundle
        self._grounds = grounds
        self._look_again = look_again
        self._restless: list[tuple[Path, bytes]] = []  # to settle anew once that is committed
        self._originals = OriginalFinder(catalog, bundle, workers, grounds, look_again, beat)
        self.index = self._read_index()
        self._index_ahead = False
        # By file id.
        self._absent = {file_id: _Absent(since_ns, lasting=True) for file_id, since_ns in catalog.missed().items()}

    def commit(self) -> None:
        """Make what was recorded lasting. Raises StorageError."""
        self.catalog.commit()
        self._index_ahead = False
        # Only now, as whoever looks again compares the file with what is committed.
        for root, path in self._restless:
            self._look_again(root, path)
        self._restless.clear()

    def rollback(self) -> None:
        """Undo what was not committed, in the index too."""
        self.catalog.rollback()
        self._restless.clear()
        if self._index_ahead:
            self.index = self._read_index()
            self._index_ahead = False

    def decide(self, arrival: Arrival, younger: frozenset[int] = frozenset()) -> bool:
        """Record the outcome for one file; return False if it stays queued, to be judged again in a while.

        `younger` are the ids of files that came after it and were judged before it. Raises RootOffline or OSError where
        it must wait, StorageError likewise.
        """
        file = self.catalog.file(arrival.file.id)
        if file is None or file.state in ("gone", "quarantined"):
            return True
        if arrival.inspection is None:
            self._failed(file, arrival)
            return True
        return self._seen(file, arrival.place, arrival.inspection, arrival.embedding, younger)

    def foresee(self, now: Arrival, soon: list[Arrival]) -> None:
        """Let evidence be sought for those whose turn is soon, while `now` is judged; it saves time and no more."""
        self._originals.forget_all_but({arrival.file.id for arrival in (now, *soon)})
        for arrival in soon:
            if self._originals.foreseen(arrival.file.id):
                continue
            if self._originals.seeks_enough():
                break
            # Whatever is wrong is met again on its turn, and dealt with there.
            with contextlib.suppress(Exception):
                self._foresee(arrival)

    def _foresee(self, arrival: Arrival) -> None:
        file, seen = arrival.file, arrival.inspection
        if file.state != "new" or seen is None or arrival.embedding is None:
            return
        content = self.catalog.content_of(seen.sha256) or _content_of(seen)
        current = replace(file, identity=seen.identity)
        self._originals.foresee(current, arrival.place, content, arrival.embedding, self.index)

    def set_aside(self, file: File, reason: str) -> None:
        """Leave a file alone until the next scan, which shall find it changed. What was known of it stays known."""
        self.catalog.set_file(file.id, queue=None, mtime_ns=_NEVER)
        if file.state in ("new", "unreadable"):
            self.catalog.set_file(file.id, state="unreadable", refusal=reason, content_id=None)

    def forget(self, file: File) -> None:
        """Note that a file is gone from its path. One that was not judged to the end is new wherever it turns up."""
        self.catalog.set_file(
            file.id, state="gone", queue=None, content_id=None if file.state == "new" else file.content_id
        )
        self._miss(file.id, time.time_ns())
        self._drop_if_orphaned(file.content_id)
        if file.content_id is not None:  # also where a copy was kept that missed it
            self.catalog.requeue_links(file.content_id)

    def look_for_absent(self) -> None:
        """See whether some of what searches did not find in place is there again, just as it was, and look back.

        A folder that was away for a moment leaves no other trace: its files are known, and not judged again.
        """
        now_s = time.monotonic()
        due = (item for item in self._absent.items() if item[1].due_s <= now_s)
        for file_id, absent in list(itertools.islice(due, _ABSENT_AT_ONCE)):
            absent.due_s = now_s + absent.pause_s
            content = self._content_in_place(file_id)
            if content is None:
                absent.lasting = True
            elif absent.lasting:  # else it was on its way for an instant, and whoever moved it judges it
                self._let_late_ones_be_judged(file_id, content, absent.since_ns)
                self.catalog.unmiss(file_id)
                # What is there and cannot be compared will be missed again, so each time it takes longer.
                absent.since_ns, absent.pause_s = time.time_ns(), min(_LONGEST_PAUSE_S, 2 * absent.pause_s)

    def _content_in_place(self, file_id: int) -> Content | None:
        """Return what an original holds, if it is one and just as it was."""
        file = self.catalog.file(file_id)
        if file is None or file.content_id is None or file.state not in ORIGINALS:
            return None
        ground = self._grounds.get(file.root_id)
        if ground is None or ground.unchanged(file.path, file.identity) is None:
            return None
        return self.catalog.content(file.content_id)

    def _failed(self, file: File, arrival: Arrival) -> None:
        failure = arrival.failure
        if isinstance(failure, FileGone):
            if (file.path, file.identity) == (arrival.file.path, arrival.file.identity):
                self.forget(file)  # else it has come back since, or been given another place, and waits there
        elif isinstance(failure, FileChanged):
            self._settle_again(file)
        elif isinstance(failure, WorkerCrashed | UnreadableError):
            self._closed(file, str(failure))
        elif isinstance(failure, OSError) and failure.errno == errno.EIO:
            self._closed(file, "the disk cannot read it (input/output error)")
        elif failure is not None:
            raise failure

    def _seen(
        self,
        file: File,
        place: FileRef,
        seen: Inspection,
        embedding: NDArray[np.float32] | None,
        younger: frozenset[int],
    ) -> bool:
        content = self._remember(seen, embedding)
        if file.state != "new" and file.content_id == content.id:  # touched, readable again, or for a new bundle
            state = self._state_before(file, content) if file.state == "unreadable" else file.state
            self.catalog.set_identity(file.id, seen.identity, state=state, queue=None)
            if state in ORIGINALS:
                self._join(content, embedding)
                self._look_back(file.id, content)
            return True
        if self._is_other_name(file, seen.identity, content, embedding):
            return True
        ground = self._ground(file.root_id)
        # New, as whatever was judged at this path before were other bytes.
        kept_ns = time.time_ns()
        self._found(file.id)
        self.catalog.set_identity(file.id, seen.identity, content_id=content.id, kept_ns=kept_ns, state="new")
        if file.content_id != content.id:
            self._drop_if_orphaned(file.content_id)
        if content.reason is not None:
            self._unreadable(file, content.reason)
            return True
        current = replace(file, identity=seen.identity, content_id=content.id, state="new")
        # Evidence takes long, so nothing may be locked meanwhile; a file stays queued until its outcome is recorded.
        self.commit()
        if embedding is None:
            embedding = self.catalog.embedding(content.id, self._bundle.id)
        original = verdict = None
        passed_over: list[File] = []
        absent: set[int] = set()
        if not self.catalog.cases.put_back(os.fsencode(place.root), file.path, content.sha256):
            try:
                original = self._originals.find(current, place, content, embedding, self.index, but=younger)
            except NewcomerLostError:
                self._settle_again(file)
                return True
            passed_over, absent = self._originals.younger, self._originals.absent
            verdict = None if original is None else self._weigh(current, ground, content, original)
        now = self.catalog.file(file.id)
        if now is None or now.identity != seen.identity:
            return True  # it was changed meanwhile, and waits to be judged as what it is now
        if original is not None and verdict is not None:
            return self._act(current, ground, content, original, verdict, embedding)
        self.catalog.set_file(file.id, state="kept", queue=None)
        for missed in absent:
            self._miss(missed, kept_ns)
        self._join(content, embedding)
        _log.debug("kept", path=self._show(file), size=f"{content.width}x{content.height}")
        for other in passed_over:
            if other.state == "kept":  # it may be a copy of this one, which was there before it
                self.catalog.set_file(other.id, state="new", queue="waiting")
        return True

    def _remember(self, seen: Inspection, embedding: NDArray[np.float32] | None) -> Content:
        content = self.catalog.content_of(seen.sha256)
        if content is None or seen.picture is not None or seen.reason is not None:
            content = self.catalog.add_content(_content_of(seen))
        if embedding is not None:
            self.catalog.add_embedding(content.id, self._bundle.id, embedding)
        return content

    def _is_other_name(
        self, file: File, identity: FileIdentity, content: Content, embedding: NDArray[np.float32] | None
    ) -> bool:
        """True if the file is a known one under another name: moved or renamed, or one more hard link of it."""
        for other in self.catalog.same_inode(file, identity):
            if other.content_id != content.id:
                continue
            ground = self._grounds.get(other.root_id)
            there = None if ground is None or other.state == "gone" else ground.look(other.path)
            if there is not None and (there.device, there.inode) == (identity.device, identity.inode):
                if other.state == "link":  # no original itself, and so are all names but one
                    continue
                self.catalog.set_identity(file.id, identity, content_id=content.id, state="link", queue=None)
                return True
            if other.state == "new":  # not judged to the end; it keeps its turn
                self.catalog.place_file(other.id, file.root_id, file.path, identity, queue="waiting")
                return True
            state = self._state_before(other, content)
            self.catalog.place_file(other.id, file.root_id, file.path, identity, state=state, queue=None)
            if file.content_id != content.id:
                self._drop_if_orphaned(file.content_id)
            if state != "unreadable":
                self._join(content, embedding)
                self._look_back(other.id, content)
            _log.debug("renamed", path=self._show(file), before=show_path(other.path))
            return True
        return False

    def _miss(self, file_id: int, since_ns: int) -> None:
        self._absent.setdefault(file_id, _Absent(since_ns))
        self.catalog.miss(file_id, since_ns)
        if len(self._absent) > _MOST_ABSENT:
            self._found(next(iter(self._absent)))

    def _found(self, file_id: int) -> _Absent | None:
        absent = self._absent.pop(file_id, None)
        if absent is not None:
            self.catalog.unmiss(file_id)
        return absent

    def _look_back(self, file_id: int, content: Content) -> None:
        """Let what was kept while a file was not found in place be judged again: it may be a copy of that."""
        absent = self._found(file_id)
        if absent is not None:
            self._let_late_ones_be_judged(file_id, content, absent.since_ns)

    def _let_late_ones_be_judged(self, file_id: int, content: Content, since_ns: int) -> None:
        near = {content.id}
        vector = self.catalog.embedding(content.id, self._bundle.id)
        if content.id in self.index and vector is not None:
            near.update(match.key for match in self.index.query(vector, self._bundle.largest_radius))
        self.catalog.requeue_kept(near, since_ns, but=file_id)

    def _state_before(self, file: File, content: Content) -> str:
        if file.state not in ("gone", "new", "link", "unreadable"):
            return file.state
        case = self.catalog.cases.latest_of([file.id]).get(file.id)
        if case is not None and case.sha256 == content.sha256:
            return {"done": "duplicate", "restored": "restored"}.get(case.state, "kept")
        return "kept" if content.reason is None else "unreadable"

    def _weigh(self, file: File, ground: WatchedRoot, content: Content, original: Original) -> Decision | None:
        finding = Finding(
            kind=original.kind,
            evidence=None if original.evidence is None else original.evidence.score,
            only_by_bytes=content.blank or original.content.blank,
            newcomer_pixels=content.width * content.height,
            original_pixels=original.content.width * original.content.height,
            standing=file.standing,
            links=file.identity.links,
        )
        rules = RootRules(ground.quarantine is not None, ground.protect, self._latched(file.root_id) or None)
        return judge(finding, rules, self._bundle.manifest.evidence_level)

    def _act(
        self,
        file: File,
        ground: WatchedRoot,
        content: Content,
        original: Original,
        verdict: Decision,
        embedding: NDArray[np.float32] | None,
    ) -> bool:
        original_root = self._ground(original.file.root_id).path
        case = verdict_of(ground.path, file, content, original_root, original, verdict)
        why: str | None = verdict.spared
        self.catalog.cases.add(case)
        if case.action == "quarantined":
            self.commit()
            why = self._move(file, ground, case)
            if why is None:
                self.catalog.cases.drop(case.id)
                return False
        action: Action = "flagged" if why else "quarantined"
        case = self.catalog.cases.get(case.id) or case
        self.catalog.cases.set(case.id, state="done", action=action)
        self.catalog.set_file(file.id, state="duplicate" if why else "quarantined", queue=None)
        if why:
            self._join(content, embedding)
        else:
            self._count_move(file.root_id, ground)
        _log.info(
            "duplicate",
            path=_shown(case.root, case.path),
            duplicate_of=_shown(case.original_root, case.original_path),
            kind=case.kind,
            distance=None if case.distance is None else round(case.distance, 3),
            evidence=None if case.evidence is None else round(case.evidence, 3),
            edit=case.edit or None,
            action=action,
            why=why or None,
            id=case.id,
        )
        return True

    def _move(self, file: File, ground: WatchedRoot, case: Verdict) -> str | None:
        """Move to quarantine. Return "" when moved, why it is only flagged, or None where it is to be judged again."""
        assert ground.quarantine is not None  # policy answered so
        try:
            moved = move(ground.quarantine, case, file.identity, self._bundle.id)
        except (BusyError, ChangedError, FileNotFoundError, NotADirectoryError, UnreadableError) as error:
            _log.info("not moved, judged again later", path=_shown(case.root, case.path), why=str(error))
            return None
        except (StorageFaultError, OSError) as error:
            if _is_want(error) and stat_regular(os.path.join(os.fsencode(ground.path), case.path)):
                _log.warning("not moved, judged again later", path=_shown(case.root, case.path), why=str(error))
                return None
            self._latch(file.root_id, ground, str(error))
            return f"quarantine failed: {error}"
        except QuarantineError as error:
            return str(error)
        self.catalog.cases.set(case.id, quarantined_to=moved.quarantined_to)
        return ""

    def _count_move(self, root_id: int, ground: WatchedRoot) -> None:
        why = ground.brake.count(time.monotonic(), lambda: self.catalog.files_count(root_id))
        if why:
            self._latch(root_id, ground, why)

    def _latched(self, root_id: int) -> str:
        for root in self.catalog.roots():
            if root.id == root_id and root.latched:
                return root.latched
        return ""

    def _latch(self, root_id: int, ground: WatchedRoot, reason: str) -> None:
        self.catalog.set_root(root_id, latched=reason, latched_at=utc_now())
        _log.error("quarantine is off until `twinwatch resume`", root=str(ground.path), why=reason)

    def _unreadable(self, file: File, reason: str) -> None:
        self.catalog.set_file(file.id, state="unreadable", refusal=reason, queue=None)
        _log.warning("not readable as a picture", path=self._show(file), why=reason)

    def _closed(self, file: File, reason: str) -> None:
        """Note that a file cannot be read. What it was judged to be stands once the same bytes can be read again."""
        if file.state == "new":
            self.catalog.set_file(file.id, content_id=None)
        self._unreadable(file, reason)
        self._drop_if_orphaned(file.content_id)

    def _settle_again(self, file: File) -> None:
        self.catalog.set_file(file.id, queue=None, mtime_ns=_NEVER)
        self._restless.append((self._ground(file.root_id).path, file.path))

    def _read_index(self) -> ExactIndex:
        keys, vectors = self.catalog.living_embeddings(self._bundle.id, self._bundle.manifest.embedding_dim)
        return ExactIndex.of(self._bundle.centroids, keys, vectors)

    def _join(self, content: Content, embedding: NDArray[np.float32] | None) -> None:
        if content.blank or content.reason is not None or content.id in self.index:
            return
        vector = self.catalog.embedding(content.id, self._bundle.id) if embedding is None else embedding
        if vector is not None:
            self.index.add(content.id, vector)
            self._index_ahead = True

    def _ground(self, root_id: int) -> WatchedRoot:
        """Raises RootOffline for a root that went away while its file was on its way here."""
        ground = self._grounds.get(root_id)
        if ground is None:
            raise RootOffline("its folder went away meanwhile")
        return ground

    def _show(self, file: File) -> str:
        ground = self._grounds.get(file.root_id)
        return show_path(file.path) if ground is None else ground.show(file.path)

    def _drop_if_orphaned(self, content_id: int | None) -> None:
        if content_id is not None and not self.catalog.has_living(content_id):
            self.index.remove(content_id)
            self._index_ahead = True
            self.catalog.requeue_links(content_id)


def _content_of(seen: Inspection) -> Content:
    """As it is to be added to the catalogue."""
    picture = seen.picture
    return Content(
        id=0,
        sha256=seen.sha256,
        size_bytes=seen.identity.size_bytes,
        reason=seen.reason,
        width=picture.width if picture else 0,
        height=picture.height if picture else 0,
        format=picture.format if picture else "",
        blank=picture is not None and (picture.blank or picture.multi_frame),
    )


def _is_want(error: OSError | StorageFaultError) -> bool:
    """True for want of what comes back by itself, which is no fault of the storage."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS


def _shown(root: bytes, path: bytes) -> str:
    return show_path(root + b"/" + path)
