"""Whose copy is this? Looks for a living original: the same bytes first, then near pictures whose pixels line up.

It finds out and decides nothing; what follows from the finding is `policy`'s to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from twinwatch.bundle import Bundle
from twinwatch.catalog import Catalog, Content, File
from twinwatch.config import Limits
from twinwatch.errors import UnreadableError
from twinwatch.ground import Ground
from twinwatch.index import Index
from twinwatch.policy import Kind
from twinwatch.reader import Identity
from twinwatch.workers import Align, Changing, Nominee, OutOfTime, Place, Proof, Vanished, WorkerLost, Workers

if TYPE_CHECKING:
    from twinwatch.verify import Evidence

NOMINEES = 20
_COPIES = 5  # known copies that are nominated too: a folder may hold one picture in dozens of versions
_LOOKED_AT = 400

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


class Originals:
    """Searches the catalogue and the index. `look_again` takes a root and a path in it that should settle anew.

    `younger` holds what the last search came upon and passed over, as it came after the newcomer; `absent` the ids of
    what it did not find in place, which may be on its way to another name.
    """

    def __init__(
        self,
        catalog: Catalog,
        bundle: Bundle,
        workers: Workers,
        limits: Limits,
        grounds: Mapping[int, Ground],
        look_again: Callable[[Path, bytes], None],
    ) -> None:
        self._catalog = catalog
        self._bundle = bundle
        self._workers = workers
        self._limits = limits
        self._grounds = grounds
        self._look_again = look_again
        self._passed_over: frozenset[int] = frozenset()
        self.younger: list[File] = []
        self.absent: set[int] = set()

    def find(
        self,
        newcomer: File,
        place: Place,
        content: Content,
        embedding: NDArray[np.float32] | None,
        index: Index,
        but: frozenset[int] = frozenset(),
    ) -> Original | None:
        """Return the original of a newcomer with its content and embedding, float32 [256], or None.

        No file in `but` (ids) is one. Raises NewcomerLostError where the newcomer is no longer what was embedded, and
        OSError where it cannot be told now.
        """
        self._passed_over, self.younger, self.absent = but, [], set()
        twin = next(self._living(content, newcomer, content), None)
        if twin is not None:
            return Original(twin, content, "exact")
        if content.blank or embedding is None:
            return None
        nominees = self._nominees(newcomer, content, embedding, index)
        proof = self._proof(newcomer, place, content, nominees) if nominees else None
        if proof is None:
            self.absent.update(each.file.id for each in nominees if self._there(each.file) is None)
            return None
        return replace(nominees[proof.number], evidence=proof.evidence)

    def _nominees(
        self, newcomer: File, content: Content, embedding: NDArray[np.float32], index: Index
    ) -> list[Original]:
        """Return the nearest contents with one living file each: originals first, copies last.

        Between them stands what those copies are copies of, however far it lies.
        """
        originals: list[Original] = []
        copies: list[Original] = []
        for match in index.query(embedding, self._bundle.manifest.nomination_radius, _LOOKED_AT):
            other = None if match.key == content.id else self._catalog.content(match.key)
            if other is None:
                continue
            living = (file for file in self._living(other, newcomer, content) if not self._refers(file, content))
            file = next(living, None)
            if file is None:
                continue
            nominee = Original(file, other, "near", match.distance, match.cluster)
            (copies if file.state == "duplicate" else originals).append(nominee)
            if len(originals) == NOMINEES:
                break
        copies = copies[:_COPIES]
        near = {nominee.content.id for nominee in originals}
        followed = (self._followed(copy, newcomer, content, embedding, index) for copy in copies)
        further = {each.content.id: each for each in followed if each is not None and each.content.id not in near}
        return [*originals, *further.values(), *copies]

    def _followed(
        self, copy: Original, newcomer: File, content: Content, embedding: NDArray[np.float32], index: Index
    ) -> Original | None:
        """Return what a nominated copy is a copy of: a stronger edit of it may lie near the copy only."""
        case = self._catalog.cases.latest_of(copy.file.id)
        other = None if case is None else self._catalog.content_of(case.original_sha256)
        vector = None if other is None else self._catalog.embedding(other.id, self._bundle.id)
        file = None if other is None else next(self._living(other, newcomer, content), None)
        if other is None or vector is None or file is None or other.id == content.id:
            return None
        return Original(file, other, "near", float(np.linalg.norm(vector - embedding)), index.cluster_of(other.id))

    def _refers(self, file: File, content: Content) -> bool:
        """True for a copy of what a person said a content is no copy of; to follow it would say the same again."""
        case = None if file.state == "kept" else self._catalog.cases.latest_of(file.id)
        return case is not None and self._catalog.cases.dismissed(content.sha256, case.original_sha256)

    def _living(self, content: Content, newcomer: File, newcomer_content: Content) -> Iterator[File]:
        """Yield the files that hold a content, are still what was judged, and were not dismissed as its original."""
        if self._catalog.cases.dismissed(newcomer_content.sha256, content.sha256):
            return
        for original in self._catalog.originals(content.id, but=newcomer.id):
            ground = self._grounds.get(original.root_id)
            if ground is None:
                continue
            there = self._there(original)
            if there is None:
                self.absent.add(original.id)
                self._look_again(ground.path, original.path)
            elif (there.device, there.inode) == (newcomer.identity.device, newcomer.identity.inode):
                continue
            elif original.id in self._passed_over:
                self.younger.append(original)
            else:
                yield original

    def _there(self, file: File) -> Identity | None:
        """Return what is at the path of a file if it is still what was judged there."""
        ground = self._grounds.get(file.root_id)
        there = None if ground is None else ground.look(file.path)
        return there if there is not None and there.same_bytes_as(file.identity) else None

    def _proof(self, newcomer: File, place: Place, content: Content, nominees: list[Original]) -> Proof | None:
        """Let a worker look for evidence, at the nominees in their order."""
        task = Align(
            Nominee(place, content.sha256),
            tuple(self._nominee(each) for each in nominees),
            self._bundle.manifest.evidence_level,
            self._limits.max_file_mb << 20,
            self._limits.max_megapixels,
            self._limits.decode_seconds / 2,
        )
        try:
            return self._workers.align(task)
        except (Vanished, Changing):
            raise NewcomerLostError from None
        except (WorkerLost, OutOfTime, UnreadableError) as error:
            _log.warning("no evidence", path=self._grounds[newcomer.root_id].show(newcomer.path), why=str(error))
            return None

    def _nominee(self, original: Original) -> Nominee:
        file = original.file
        # A known copy comes after every original, however old it is.
        since_ns = sys.maxsize if file.state == "duplicate" else file.kept_ns or 0
        return Nominee(self._grounds[file.root_id].place(file.path), original.content.sha256, since_ns)
