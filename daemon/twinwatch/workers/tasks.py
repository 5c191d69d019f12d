"""The tasks of decoder processes, with what they answer: inspect a file, or compare a copy with its candidates.

Every decoder process imports this module, so it imports late what only comparing needs.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from twinwatch.decoding import Picture, decode_exact, decode_fit
from twinwatch.errors import UnreadableError
from twinwatch.fs import FileIdentity, open_beneath, open_root, read_whole

if TYPE_CHECKING:
    from twinwatch.evidence import Evidence, Pixels, View, ViewCache

_MAX_AHEAD_MEGAPIXELS = 50.0  # two larger pictures at a time would take too long, and too much memory
_MAX_OLDER = 3  # compared after a first match: an unknown copy of the oldest picture may be nearer than it


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file beneath a watched root. `folder` is the (device, inode) that the root must still have."""

    root: Path
    folder: tuple[int, int]
    path: bytes  # relative to the root


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a process found out about a file. `picture` is None for known bytes, and refused ones with a `reason`."""

    identity: FileIdentity
    sha256: str
    picture: Picture | None
    reason: str | None


class FileGone(Exception):  # noqa: N818  an outcome, not an error
    """There is no regular file at the path any more."""


class RootOffline(Exception):  # noqa: N818
    """The root is not the folder that it was: unmounted, mounted over, or replaced."""


class FileChanged(Exception):  # noqa: N818
    """The file changed while it was read, or has other bytes than expected."""


class OutOfTime(Exception):  # noqa: N818
    """The time was up before all candidates were compared."""


@dataclass(frozen=True, slots=True)
class InspectTask:
    """The task to read and hash a file, and to decode it to `size` (width, height) unless its hash is `known`."""

    place: FileRef
    known: frozenset[str]  # sha256 (hex)
    size: tuple[int, int]
    max_bytes: int
    max_megapixels: float

    def run(self, decode_ahead: bool = False) -> Inspection:
        """Return what was found out about the file.

        `decode_ahead` says that a core is idle: a second thread then decodes the picture for a later comparison. Raises
        FileGone, RootOffline, FileChanged, OSError, or UnreadableError for a file that is too large or not permitted.
        """
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
            megapixels = min(self.max_megapixels, _MAX_AHEAD_MEGAPIXELS)
            _view_cache().prefetch(sha256, partial(_decode_for_evidence, data, megapixels))
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
        # The second thread may have held the memory that was missing. Wait for it and try once more.
        _view_cache().wait()
        return decode_exact(data, self.size, self.max_megapixels)


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file to compare, and the sha256 (hex) that its bytes must still have."""

    place: FileRef
    sha256: str
    since_ns: int = 0  # since when it has been kept; of two originals the older one is named


@dataclass(frozen=True, slots=True)
class CandidateMatch:
    """The candidate, by its number in the task, for which there is enough evidence."""

    number: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The answer to a CompareTask: the match, or None, and the numbers of the candidates that were not in place."""

    match: CandidateMatch | None
    missing: frozenset[int]


@dataclass(frozen=True, slots=True)
class CompareTask:
    """The task to find the original of `copy` among `originals`, the candidates, with evidence of at least `level`.

    1. Candidates are compared in the order given, until one matches.
    2. After a match, at most three older candidates are compared, and the first of them that matches is the answer.
    3. No comparison starts after `budget_s` seconds, except the first.
    """

    copy: ExpectedFile
    originals: tuple[ExpectedFile, ...]
    level: float
    max_bytes: int
    max_megapixels: float
    budget_s: float

    def run(self, decode_ahead: bool = False) -> CompareResult:
        """Return the match.

        `decode_ahead` says that a core is idle: a second thread then decodes the first candidate. Raises FileGone,
        FileChanged or UnreadableError for the copy, and RootOffline, OutOfTime or OSError.
        """
        until_s = time.monotonic() + self.budget_s
        decode = partial(_decode_for_evidence, self._read(self.copy), self.max_megapixels)
        copy = _view_cache().get(self.copy.sha256, decode)
        missing: set[int] = set()
        try:
            return CompareResult(self._find(copy, until_s, missing, decode_ahead), frozenset(missing))
        finally:
            copy.release()

    def _find(self, copy: View, until_s: float, missing: set[int], decode_ahead: bool) -> CandidateMatch | None:
        found = self._first_match(range(len(self.originals)), copy, until_s, missing, decode_ahead)
        if found is None:
            return None
        since_ns = self.originals[found.number].since_ns
        further = range(found.number + 1, len(self.originals))
        older = [number for number in further if self.originals[number].since_ns < since_ns][:_MAX_OLDER]
        try:
            return self._first_match(older, copy, until_s, missing) or found
        except OutOfTime:
            return found

    def _first_match(
        self, numbers: Sequence[int], copy: View, until_s: float, missing: set[int], decode_ahead: bool = False
    ) -> CandidateMatch | None:
        for number in numbers:
            if number and time.monotonic() > until_s:
                raise OutOfTime(f"only {number} of {len(self.originals)} pictures near it were compared in time")
            try:
                evidence = self._compare(self.originals[number], copy, decode_ahead=decode_ahead and not number)
            except (FileGone, FileChanged, UnreadableError):
                missing.add(number)  # what is not in place cannot be the copy's original
                continue
            if evidence.score >= self.level:
                return CandidateMatch(number, evidence)
        return None

    def _compare(self, candidate: ExpectedFile, copy: View, decode_ahead: bool) -> Evidence:
        """Return the evidence. Raises what `_read` raises.

        The candidate's file is not read where the cached features of its bytes show that it does not match.
        """
        from twinwatch.evidence import compare

        if decode_ahead:
            megapixels = min(self.max_megapixels, _MAX_AHEAD_MEGAPIXELS)
            _view_cache().prefetch(candidate.sha256, partial(self._decode, candidate, megapixels))
        original = _view_cache().get(candidate.sha256, partial(self._decode, candidate, self.max_megapixels))
        try:
            evidence = compare(original, copy)
            read = original.decoded
        finally:
            if original is not copy:
                original.release()
        # A match must rest on the bytes that the file has now, not only on what is cached.
        if evidence.score >= self.level and (not read or original is copy):
            self._read(candidate)
        return evidence

    def _decode(self, candidate: ExpectedFile, max_megapixels: float) -> Pixels:
        return _decode_for_evidence(self._read(candidate), max_megapixels)

    def _read(self, expected: ExpectedFile) -> bytes:
        """Return the file's bytes. Raises FileGone, RootOffline, UnreadableError, or FileChanged for other bytes."""
        file_fd = _open(expected.place)
        try:
            data, sha256 = read_whole(file_fd, self.max_bytes)
        except UnreadableError:
            raise FileChanged from None
        finally:
            os.close(file_fd)
        if sha256 != expected.sha256:
            raise FileChanged
        return data


def _open(place: FileRef) -> int:
    """Return a descriptor of the file. Raises FileGone, RootOffline, UnreadableError, OSError."""
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
        if error.errno == errno.ELOOP:  # the name, or a folder above it, became a link
            raise FileGone(str(error)) from None
        raise
    finally:
        os.close(root_fd)


def _decode_for_evidence(data: bytes, max_megapixels: float) -> Pixels:
    from twinwatch.evidence import EVIDENCE_SIDE

    return decode_fit(data, EVIDENCE_SIDE, max_megapixels).pixels


@cache
def _view_cache() -> ViewCache:
    """Return this process's cache of views: the pictures compared last, without their pixels."""
    from twinwatch.evidence import ViewCache

    return ViewCache()
