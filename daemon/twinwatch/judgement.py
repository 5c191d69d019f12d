"""The committing thread's work on one file: is it known, a link, a copy, or new? Facts in, a recorded outcome out.

Decisions are serial and in order of arrival, so two copies that arrive together never accuse each other.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from twinwatch.bundle import Bundle
from twinwatch.catalog import Case, Catalog, Content, File
from twinwatch.config import Limits
from twinwatch.duplog import now, show_path
from twinwatch.errors import QuarantineError, UnreadableError
from twinwatch.index import Index
from twinwatch.policy import Action, Finding, Kind, RootRules, Verdict, judge
from twinwatch.quarantine import BusyError, ChangedError, Moved, MoveOrder, Quarantine, QuarantineFaultError
from twinwatch.reader import Identity, look, open_beneath, open_root
from twinwatch.verify import Evidence
from twinwatch.workers import (
    Align,
    Changing,
    Inspection,
    Nominee,
    Place,
    Proof,
    Vanished,
    WorkerLost,
    Workers,
)

NOMINEES = 20

_log = structlog.get_logger("twinwatch")


@dataclass(frozen=True, slots=True)
class Ground:
    """One watched root as the pipeline sees it. `quarantine` is None where nothing may be moved, `why_not` says why."""

    path: Path
    folder: tuple[int, int]
    protect: bool
    quarantine: Quarantine | None = None
    why_not: str = ""

    def place(self, path: bytes) -> Place:
        return Place(self.path, self.folder, path)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file with what the worker and the encoder made of it: `inspection` or `failure`, float32 [256] or None."""

    file: File
    place: Place
    inspection: Inspection | None
    failure: BaseException | None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class _Copy:
    """A living original with what ties the newcomer to it."""

    original: File
    content: Content
    kind: Kind
    distance: float | None
    cluster: int | None
    evidence: Evidence | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Nominee:
    """A content near the newcomer's, with a living file that holds it."""

    original: File
    content: Content
    distance: float
    cluster: int


class _NewcomerLostError(Exception):
    """The newcomer changed or vanished while evidence was sought."""


class Judge:
    """Owns the index and one catalogue connection. `look_again` takes an absolute path that should settle anew."""

    def __init__(
        self,
        catalog: Catalog,
        index: Index,
        bundle: Bundle,
        workers: Workers,
        limits: Limits,
        grounds: Mapping[int, Ground],
        look_again: Callable[[Path, bytes], None],
    ) -> None:
        self.catalog = catalog
        self.index = index
        self._bundle = bundle
        self._workers = workers
        self._limits = limits
        self._grounds = grounds
        self._look_again = look_again

    def decide(self, arrival: Arrival) -> None:
        """Record the outcome for one file. Raises RootAway or OSError where it must wait, StorageError likewise."""
        file = self.catalog.file(arrival.file.id)
        if file is None or file.state in ("gone", "quarantined"):
            return
        if arrival.inspection is None:
            self._failed(file, arrival)
        else:
            self._seen(file, arrival.place, arrival.inspection, arrival.embedding)

    def forget(self, file: File) -> None:
        """Note that a file is gone from its path."""
        self.catalog.set_file(file.id, state="gone", queue=None)
        self._drop_if_orphaned(file.content_id)

    def _failed(self, file: File, arrival: Arrival) -> None:
        failure = arrival.failure
        if isinstance(failure, Vanished):
            self.forget(file)
        elif isinstance(failure, Changing):
            self._settle_again(file)
        elif isinstance(failure, WorkerLost | UnreadableError):
            self._unreadable(file, str(failure))
        elif isinstance(failure, OSError) and failure.errno == errno.EIO:
            self._unreadable(file, "the disk cannot read it (input/output error)")
        elif failure is not None:
            raise failure

    def _seen(self, file: File, place: Place, seen: Inspection, embedding: NDArray[np.float32] | None) -> None:
        content = self._remember(seen, embedding)
        if file.state != "new" and file.content_id == content.id:  # touched, or embedded for a new bundle
            self.catalog.set_identity(file.id, seen.identity, queue=None)
            if file.state in ("kept", "duplicate", "restored"):
                self._join(content, embedding)
            return
        if self._is_other_name(file, seen.identity, content, embedding):
            return
        self.catalog.set_identity(file.id, seen.identity, content_id=content.id, kept_ns=time.time_ns())
        if file.content_id != content.id:
            self._drop_if_orphaned(file.content_id)
        if content.reason is not None:
            self._unreadable(file, content.reason)
            return
        current = replace(file, identity=seen.identity, content_id=content.id)
        # Evidence takes long, so nothing may be locked meanwhile; a file stays queued until its outcome is recorded.
        self.catalog.commit()
        if embedding is None:
            embedding = self.catalog.embedding(content.id, self._bundle.id)
        try:
            put_back = self.catalog.put_back(os.fsencode(place.root), file.path, content.sha256)
            copy = None if put_back else self._find_copy(current, place, content, embedding)
        except _NewcomerLostError:
            self._settle_again(file)
            return
        if copy is None:
            self.catalog.set_file(file.id, state="kept", queue=None)
            self._join(content, embedding)
            _log.debug("kept", path=_shown_in(self._grounds, file), size=f"{content.width}x{content.height}")
        else:
            self._act(current, content, copy, embedding)

    def _remember(self, seen: Inspection, embedding: NDArray[np.float32] | None) -> Content:
        content = self.catalog.content_of(seen.sha256)
        picture = seen.picture
        if content is None or picture is not None or seen.reason is not None:
            content = self.catalog.add_content(
                Content(
                    id=0,
                    sha256=seen.sha256,
                    size_bytes=seen.identity.size_bytes,
                    reason=seen.reason,
                    width=picture.width if picture else 0,
                    height=picture.height if picture else 0,
                    format=picture.format if picture else "",
                    blank=picture.blank if picture else False,
                )
            )
        if embedding is not None:
            self.catalog.add_embedding(content.id, self._bundle.id, embedding)
        return content

    def _is_other_name(
        self, file: File, identity: Identity, content: Content, embedding: NDArray[np.float32] | None
    ) -> bool:
        """True if the file is a known one under another name: moved or renamed, or one more hard link of it."""
        for other in self.catalog.same_inode(file, identity):
            if other.content_id != content.id:
                continue
            ground = self._grounds.get(other.root_id)
            there = None if ground is None or other.state == "gone" else _look(ground.path, other.path)
            if there is not None and (there.device, there.inode) == (identity.device, identity.inode):
                self.catalog.set_identity(file.id, identity, content_id=content.id, state="link", queue=None)
                return True
            state = self._state_before(other, content)
            self.catalog.place_file(other.id, file.root_id, file.path, identity, state=state, queue=None)
            if file.content_id != content.id:
                self._drop_if_orphaned(file.content_id)
            if state != "unreadable":
                self._join(content, embedding)
            _log.debug("renamed", path=_shown_in(self._grounds, file), before=show_path(other.path))
            return True
        return False

    def _state_before(self, file: File, content: Content) -> str:
        if file.state not in ("gone", "new", "link"):
            return file.state
        case = self.catalog.case_of(file.id)
        if case is not None and case.sha256 == content.sha256:
            return {"done": "duplicate", "restored": "restored"}.get(case.state, "kept")
        return "kept" if content.reason is None else "unreadable"

    def _find_copy(
        self, file: File, place: Place, content: Content, embedding: NDArray[np.float32] | None
    ) -> _Copy | None:
        for original in self._living(content, file):
            copy = self._weigh(file, content, original, content, "exact")
            if copy is not None:
                return copy
        if content.blank or embedding is None:
            return None
        nominees = self._nominees(file, content, embedding)
        proof = self._proof(file, place, content, nominees) if nominees else None
        if proof is None:
            return None
        nominee = nominees[proof.number]
        return self._weigh(file, content, nominee.original, nominee.content, "near", nominee, proof.evidence)

    def _nominees(self, file: File, content: Content, embedding: NDArray[np.float32]) -> list[_Nominee]:
        """Return the nearest contents with one living original each; those that are copies themselves come last."""
        found = []
        for match in self.index.query(embedding, self._bundle.manifest.nomination_radius, NOMINEES + 1):
            other = None if match.key == content.id else self.catalog.content(match.key)
            if other is None:
                continue
            original = next(self._living(other, file), None)
            if original is not None:
                found.append(_Nominee(original, other, match.distance, match.cluster))
        found.sort(key=lambda nominee: (nominee.original.state == "duplicate", nominee.distance))
        return found[:NOMINEES]

    def _living(self, content: Content, newcomer: File) -> Iterator[File]:
        """Yield the files that hold a content, are still what was judged, and were not dismissed as its original."""
        newcomer_content = None if newcomer.content_id is None else self.catalog.content(newcomer.content_id)
        if newcomer_content is None or self.catalog.dismissed(newcomer_content.sha256, content.sha256):
            return
        for original in self.catalog.originals(content.id, but=newcomer.id):
            ground = self._grounds.get(original.root_id)
            if ground is None:
                continue
            there = _look(ground.path, original.path)
            if there is None or not there.same_bytes_as(original.identity):
                self._look_again(ground.path, original.path)
            elif (there.device, there.inode) != (newcomer.identity.device, newcomer.identity.inode):
                yield original

    def _proof(self, file: File, place: Place, content: Content, nominees: list[_Nominee]) -> Proof | None:
        """Let a worker look for evidence. Raises _NewcomerLostError where the newcomer is not what was judged."""
        task = Align(
            Nominee(place, content.sha256),
            tuple(
                Nominee(self._grounds[nominee.original.root_id].place(nominee.original.path), nominee.content.sha256)
                for nominee in nominees
            ),
            self._bundle.manifest.evidence_level,
            self._limits.max_file_mb << 20,
            self._limits.max_megapixels,
        )
        try:
            return self._workers.align(task)
        except (Vanished, Changing):
            raise _NewcomerLostError from None
        except (WorkerLost, UnreadableError) as error:
            _log.warning("no evidence", path=_shown_in(self._grounds, file), why=str(error))
            return None

    def _weigh(
        self,
        file: File,
        content: Content,
        original: File,
        other: Content,
        kind: Kind,
        nominee: _Nominee | None = None,
        evidence: Evidence | None = None,
    ) -> _Copy | None:
        finding = Finding(
            kind=kind,
            evidence=None if evidence is None else evidence.score,
            blank=content.blank or other.blank,
            newcomer_pixels=content.width * content.height,
            original_pixels=other.width * other.height,
            standing=file.standing,
            links=file.identity.links,
        )
        ground = self._grounds[file.root_id]
        rules = RootRules(ground.quarantine is not None, ground.protect, self._latched(file.root_id) or None)
        verdict = judge(finding, rules, self._bundle.manifest.evidence_level)
        if verdict is None:
            return None
        distance, cluster = (None, None) if nominee is None else (nominee.distance, nominee.cluster)
        return _Copy(original, other, kind, distance, cluster, evidence, verdict)

    def _act(self, file: File, content: Content, copy: _Copy, embedding: NDArray[np.float32] | None) -> None:
        case = self._case(file, content, copy)
        why: str | None = copy.verdict.spared
        self.catalog.add_case(case)
        if case.action == "quarantined":
            self.catalog.commit()
            why = self._move(file, case, copy)
            if why is None:
                return
        action: Action = "flagged" if why else "quarantined"
        case = self.catalog.case(case.id) or case
        self.catalog.set_case(case.id, state="done", action=action)
        self.catalog.set_file(file.id, state="duplicate" if why else "quarantined", queue=None)
        if why:
            self._join(content, embedding)
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

    def _case(self, file: File, content: Content, copy: _Copy) -> Case:
        return Case(
            id=uuid.uuid4().hex,
            file_id=file.id,
            time=now(),
            root=os.fsencode(self._grounds[file.root_id].path),
            path=file.path,
            sha256=content.sha256,
            original_root=os.fsencode(self._grounds[copy.original.root_id].path),
            original_path=copy.original.path,
            original_sha256=copy.content.sha256,
            kind=copy.kind,
            distance=copy.distance,
            cluster=copy.cluster,
            evidence=None if copy.evidence is None else copy.evidence.score,
            edit="" if copy.evidence is None else copy.evidence.edit,
            action=copy.verdict.action,
            better=copy.verdict.better,
        )

    def _move(self, file: File, case: Case, copy: _Copy) -> str | None:
        """Move to quarantine. Return "" when moved, why it is only flagged, or None where it must be judged again."""
        quarantine = self._grounds[file.root_id].quarantine
        assert quarantine is not None  # policy answered so
        order = MoveOrder(
            id=case.id,
            path=file.path,
            identity=file.identity,
            sha256=case.sha256,
            original_root=os.fsdecode(case.original_root),
            original_path=case.original_path,
            original_sha256=case.original_sha256,
            kind=case.kind,
            distance=case.distance,
            evidence=case.evidence,
            cluster=case.cluster,
            edit=case.edit,
            bundle_id=self._bundle.id,
        )
        ground = self._grounds[copy.original.root_id]
        try:
            moved = _move_with_pinned(quarantine, order, ground.path, copy.original.path)
        except (BusyError, ChangedError, FileNotFoundError, NotADirectoryError, UnreadableError) as error:
            _log.info("not moved, judged again", path=_shown(case.root, case.path), why=str(error))
            self.catalog.drop_case(case.id)
            self._settle_again(file)
            return None
        except (QuarantineFaultError, OSError) as error:
            self._latch(file.root_id, str(error))
            return f"quarantine failed: {error}"
        except QuarantineError as error:
            return str(error)
        self.catalog.set_case(case.id, quarantined_to=moved.quarantined_to)
        return ""

    def _latched(self, root_id: int) -> str:
        for root in self.catalog.roots():
            if root.id == root_id and root.latched:
                return root.latched
        return ""

    def _latch(self, root_id: int, reason: str) -> None:
        self.catalog.set_root(root_id, latched=reason, latched_at=now())
        _log.error("quarantine is off until `twinwatch resume`", root=str(self._grounds[root_id].path), why=reason)

    def _unreadable(self, file: File, reason: str) -> None:
        self.catalog.set_file(file.id, state="unreadable", refusal=reason, queue=None)
        _log.warning("not readable as a picture", path=_shown_in(self._grounds, file), why=reason)

    def _settle_again(self, file: File) -> None:
        # A time that no file has: whatever is there next counts as changed, also for the scan.
        self.catalog.set_file(file.id, queue=None, mtime_ns=-1)
        self._look_again(self._grounds[file.root_id].path, file.path)

    def _join(self, content: Content, embedding: NDArray[np.float32] | None) -> None:
        if content.blank or content.reason is not None or content.id in self.index:
            return
        vector = self.catalog.embedding(content.id, self._bundle.id) if embedding is None else embedding
        if vector is not None:
            self.index.add(content.id, vector)

    def _drop_if_orphaned(self, content_id: int | None) -> None:
        if content_id is not None and not self.catalog.has_living(content_id):
            self.index.remove(content_id)
            self.catalog.requeue_links(content_id)


def _move_with_pinned(quarantine: Quarantine, order: MoveOrder, original_root: Path, original_path: bytes) -> Moved:
    root_fd = open_root(original_root)
    try:
        original_fd = open_beneath(root_fd, original_path)
    finally:
        os.close(root_fd)
    try:
        return quarantine.move(order, original_fd)
    finally:
        os.close(original_fd)


def _look(root: Path, path: bytes) -> Identity | None:
    try:
        return look(os.fsencode(root) + b"/" + path)
    except OSError:
        return None


def _shown(root: bytes, path: bytes) -> str:
    return show_path(root + b"/" + path)


def _shown_in(grounds: Mapping[int, Ground], file: File) -> str:
    return _shown(os.fsencode(grounds[file.root_id].path), file.path)
