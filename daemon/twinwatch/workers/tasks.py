"""What a decoder process is asked, what it answers, and the process itself.

The processes import this module, so what only some of them need is imported late.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from twinwatch.decoding import Picture, decode_exact, decode_fit
from twinwatch.errors import UnreadableError
from twinwatch.fs import FileIdentity, open_beneath, open_root, read_whole
from twinwatch.workers import malloc
from twinwatch.workers.sandbox import drop_rights, limit_cpu

if TYPE_CHECKING:
    from twinwatch.evidence import Evidence, Gallery, Pixels, View

UP = "up"
"""The answer of a process that has started."""
_MOST_BESIDE = 50.0  # megapixels; larger pictures are decoded one at a time, as two take long, and much memory
_OLDER_ONES = 3  # that are compared once an original is found: an unknown copy of the oldest may lie nearer


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file beneath a root. `folder` is the (device, inode) that the root must still be."""

    root: Path
    folder: tuple[int, int]
    path: bytes


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a worker found at a place. `picture` is None for known bytes and for refused ones (`reason`)."""

    identity: FileIdentity
    sha256: str
    picture: Picture | None
    reason: str | None


class FileGone(Exception):  # noqa: N818  an outcome, not an error
    """There is no regular file at the place any more."""


class RootOffline(Exception):  # noqa: N818
    """The root is not the folder that it was: unmounted, mounted over, or replaced."""


class FileChanged(Exception):  # noqa: N818
    """The file changed while it was read, or is not what it was."""


class OutOfTime(Exception):  # noqa: N818
    """Not all nominees could be looked at in the time there is."""


@dataclass(frozen=True, slots=True)
class InspectTask:
    """Task: read, hash, and decode to `size` (width, height) unless the hash is one of `known`."""

    place: FileRef
    known: frozenset[str]
    size: tuple[int, int]
    max_bytes: int
    max_megapixels: float

    def run(self, decode_ahead: bool = False) -> Inspection:
        """`decode_ahead` says that a core has nothing to do: the picture is decoded for evidence too, beside."""
        file_fd = _open(self.place)
        try:
            before = FileIdentity.of(os.fstat(file_fd))
            if before.size_bytes > self.max_bytes:
                raise UnreadableError(f"larger than limits.max_file_mb: {before.size_bytes / 1e6:.0f} MB")
            data, sha256 = read_whole(file_fd, self.max_bytes)
            if not before.same_bytes_as(FileIdentity.of(os.fstat(file_fd))):
                raise FileChanged
        finally:
            os.close(file_fd)
        if sha256 in self.known:
            return Inspection(before, sha256, None, None)
        if decode_ahead:
            _gallery().begin(sha256, partial(_for_evidence, data, min(self.max_megapixels, _MOST_BESIDE)))
        try:
            picture = self._decode(data, decode_ahead)
        except UnreadableError as error:
            return Inspection(before, sha256, None, str(error))
        return Inspection(before, sha256, picture, None)

    def _decode(self, data: bytes, decode_ahead: bool) -> Picture:
        try:
            return decode_exact(data, self.size, self.max_megapixels)
        except UnreadableError:
            if not decode_ahead:
                raise
        _gallery().wait()  # what is decoded beside may have had the memory that was wanting
        return decode_exact(data, self.size, self.max_megapixels)


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """An original that a copy may be of, and the bytes that it must still hold."""

    place: FileRef
    sha256: str
    since_ns: int = 0  # the older of two originals is the one to name


@dataclass(frozen=True, slots=True)
class CandidateMatch:
    """The nominee, by number, whose pixels line up with the copy's well enough."""

    number: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class CompareResult:
    """What came of looking for evidence: a proof or none, and the nominees, by number, that were not in place."""

    proof: CandidateMatch | None
    missing: frozenset[int]


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Task: find a nominee with evidence of at least `level`, in the order given.

    Once one is found, only a few older ones are compared. None is begun once `budget_s` are over.
    """

    copy: ExpectedFile
    originals: tuple[ExpectedFile, ...]
    level: float
    max_bytes: int
    max_megapixels: float
    budget_s: float

    def run(self, decode_ahead: bool = False) -> CompareResult:
        """`decode_ahead` says that a core has nothing to do: the nearest nominee is decoded beside."""
        until_s = time.monotonic() + self.budget_s
        decode = partial(_for_evidence, self._read(self.copy), self.max_megapixels)
        copy = _gallery().view(self.copy.sha256, decode)
        missing: set[int] = set()
        try:
            return CompareResult(self._find(copy, until_s, missing, decode_ahead), frozenset(missing))
        finally:
            copy.rest()

    def _find(self, copy: View, until_s: float, missing: set[int], decode_ahead: bool) -> CandidateMatch | None:
        found = self._first(range(len(self.originals)), copy, until_s, missing, decode_ahead)
        if found is None:
            return None
        since_ns = self.originals[found.number].since_ns
        further = range(found.number + 1, len(self.originals))
        older = [number for number in further if self.originals[number].since_ns < since_ns][:_OLDER_ONES]
        try:
            return self._first(older, copy, until_s, missing) or found
        except OutOfTime:
            return found

    def _first(
        self, numbers: Sequence[int], copy: View, until_s: float, missing: set[int], decode_ahead: bool = False
    ) -> CandidateMatch | None:
        for number in numbers:
            if number and time.monotonic() > until_s:
                raise OutOfTime(f"only {number} of {len(self.originals)} pictures near it were compared in time")
            try:
                evidence = self._compared(self.originals[number], copy, beside=decode_ahead and not number)
            except (FileGone, FileChanged, UnreadableError):
                missing.add(number)  # it is no living original any more, so it is none to this copy
                continue
            if evidence.score >= self.level:
                return CandidateMatch(number, evidence)
        return None

    def _compared(self, nominee: ExpectedFile, copy: View, beside: bool) -> Evidence:
        """Raises what `_read` raises. A nominee is not read where what is known of its bytes tells a stranger."""
        from twinwatch.evidence import compare

        if beside:
            megapixels = min(self.max_megapixels, _MOST_BESIDE)
            _gallery().begin(nominee.sha256, partial(self._decode, nominee, megapixels))
        original = _gallery().view(nominee.sha256, partial(self._decode, nominee, self.max_megapixels))
        try:
            evidence = compare(original, copy)
            read = original.decoded
        finally:
            if original is not copy:
                original.rest()
        if evidence.score >= self.level and (not read or original is copy):
            self._read(nominee)
        return evidence

    def _decode(self, nominee: ExpectedFile, max_megapixels: float) -> Pixels:
        return _for_evidence(self._read(nominee), max_megapixels)

    def _read(self, nominee: ExpectedFile) -> bytes:
        """Return its bytes. Raises FileGone, RootOffline or UnreadableError, and FileChanged where they are others."""
        file_fd = _open(nominee.place)
        try:
            data, sha256 = read_whole(file_fd, self.max_bytes)
        except UnreadableError:
            raise FileChanged from None
        finally:
            os.close(file_fd)
        if sha256 != nominee.sha256:
            raise FileChanged
        return data


def serve(connection: Connection, memory_mb: int, task_s: int, parent_pid: int, compares: bool) -> None:
    """The process: answers tasks until the pipe closes. One that compares loads what it needs before its limits."""
    if compares:
        import cv2

        import twinwatch.evidence.comparison  # noqa: F401

        cv2.setNumThreads(1)
        malloc.keep()
    drop_rights(memory_mb, parent_pid)
    connection.send(UP)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        limit_cpu(task_s)
        try:
            answer = task()
        except (FileGone, RootOffline, FileChanged, OutOfTime, UnreadableError, OSError) as error:
            answer = error
        except MemoryError:
            answer = UnreadableError("needs more memory than limits.decode_memory_mb")
        connection.send(answer)


def _open(place: FileRef) -> int:
    try:
        root_fd = open_root(place.root)
    except OSError as error:
        raise RootOffline(str(error)) from None
    try:
        status = os.fstat(root_fd)
        if (status.st_dev, status.st_ino) != place.folder:
            raise RootOffline(f"{place.root} is another folder than before")
        return open_beneath(root_fd, place.path)
    except PermissionError as error:
        raise UnreadableError(f"{error.strerror}: the daemon's user may not read it") from None
    except (FileNotFoundError, NotADirectoryError, UnreadableError) as error:
        raise FileGone(str(error)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # the name, or a folder on the way, became a link
            raise FileGone(str(error)) from None
        raise
    finally:
        os.close(root_fd)


def _for_evidence(data: bytes, max_megapixels: float) -> Pixels:
    from twinwatch.evidence import EVIDENCE_SIDE

    return decode_fit(data, EVIDENCE_SIDE, max_megapixels).pixels


@cache
def _gallery() -> Gallery:
    """That of this process."""
    from twinwatch.evidence import Gallery

    return Gallery()
