"""Decoder processes that may crash, hang or swell without hurting the daemon.

Each slot of the pool is a thread that owns one spawned process and hands it a task at a time. A process that dies or
outlasts its time is replaced; the task is tried once more alone in a fresh one, then refused with the reason.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinwatch.config import Limits
from twinwatch.decode import Picture, decode_exact, decode_fit
from twinwatch.errors import UnreadableError
from twinwatch.reader import Identity, hash_file, open_beneath, open_root, read_whole
from twinwatch.verify import EVIDENCE_SIDE, Evidence, compare

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """A file beneath a root. `folder` is the (device, inode) that the root must still be."""

    root: Path
    folder: tuple[int, int]
    path: bytes


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a worker found at a place. `picture` is None for known bytes and for refused ones (`reason`)."""

    identity: Identity
    sha256: str
    picture: Picture | None
    reason: str | None


class Vanished(Exception):  # noqa: N818  an outcome, not an error
    """There is no regular file at the place any more."""


class RootAway(Exception):  # noqa: N818
    """The root is not the folder that it was: unmounted, mounted over, or replaced."""


class Changing(Exception):  # noqa: N818
    """The file changed while it was read, or is not what it was."""


class WorkerLost(Exception):  # noqa: N818
    """Two processes in a row died or hung on one task; the message says how."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Task: read, hash, and decode to `size` (width, height) unless the hash is one of `known`."""

    place: Place
    known: frozenset[str]
    size: tuple[int, int]
    max_bytes: int
    max_megapixels: float

    def run(self) -> Inspection:
        file_fd = _open(self.place)
        try:
            before = Identity.of(os.fstat(file_fd))
            if before.size_bytes > self.max_bytes:
                reason = f"larger than limits.max_file_mb: {before.size_bytes / 1e6:.0f} MB"
                return Inspection(before, hash_file(file_fd), None, reason)
            data, sha256 = read_whole(file_fd, self.max_bytes)
            if not before.same_bytes_as(Identity.of(os.fstat(file_fd))):
                raise Changing
        finally:
            os.close(file_fd)
        if sha256 in self.known:
            return Inspection(before, sha256, None, None)
        try:
            picture = decode_exact(data, self.size, self.max_megapixels)
        except UnreadableError as error:
            return Inspection(before, sha256, None, str(error))
        return Inspection(before, sha256, picture, None)


@dataclass(frozen=True, slots=True)
class Nominee:
    """An original that a copy may be of, and the bytes that it must still hold."""

    place: Place
    sha256: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The first nominee, by number, whose pixels line up with the copy's well enough."""

    number: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Align:
    """Task: find the first nominee with evidence of at least `level`, in the order given."""

    copy: Nominee
    originals: tuple[Nominee, ...]
    level: float
    max_bytes: int
    max_megapixels: float

    def run(self) -> Proof | None:
        copy = self._load(self.copy)
        for number, original in enumerate(self.originals):
            try:
                pixels = self._load(original)
            except (Vanished, Changing, UnreadableError):
                continue  # it is no living original any more, so it is none to this copy
            evidence = compare(pixels, copy)
            if evidence.score >= self.level:
                return Proof(number, evidence)
        return None

    def _load(self, nominee: Nominee) -> NDArray[np.uint8]:
        file_fd = _open(nominee.place)
        try:
            data, sha256 = read_whole(file_fd, self.max_bytes)
        except UnreadableError:
            raise Changing from None
        finally:
            os.close(file_fd)
        if sha256 != nominee.sha256:
            raise Changing
        return decode_fit(data, EVIDENCE_SIDE, self.max_megapixels).pixels


Result = TypeVar("Result", Inspection, Proof | None)


class Workers:
    """A pool of `count` processes. `submit` returns at once; close it to end the processes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slot = threading.local()
        self._processes: set[BaseProcess] = set()
        self._context = multiprocessing.get_context("spawn")
        self._threads = ThreadPoolExecutor(limits.worker_count, thread_name_prefix="worker-slot")
        # Evidence has a slot of its own: the committing thread waits for it while the others decode ahead.
        self._evidence = ThreadPoolExecutor(1, thread_name_prefix="evidence-slot")
        self._closing = False
        self.lost = 0

    def inspect(self, task: Inspect) -> Future[Inspection]:
        """Run in some process; the future raises what `align` raises."""
        return self._threads.submit(self._call, task.run, self._limits.decode_seconds)

    def align(self, task: Align) -> Proof | None:
        """Run and wait for it. Raises Vanished, RootAway, Changing, WorkerLost, UnreadableError or OSError."""
        patience_s = self._limits.decode_seconds * (1 + len(task.originals))
        return self._evidence.submit(self._call, task.run, patience_s).result()

    def close(self) -> None:
        """End every process, also those at work; what they did is not lost, it is done again later."""
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._evidence.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()
            process.join()
        self._threads.shutdown()
        self._evidence.shutdown()

    def _call(self, run: Callable[[], Result], patience_s: float) -> Result:
        try:
            return self._once(run, patience_s)
        except WorkerLost:
            if self._closing:
                raise InterruptedError("the daemon is stopping") from None
            return self._once(run, patience_s)

    def _once(self, run: Callable[[], Result], patience_s: float) -> Result:
        process, connection = self._process()
        try:
            connection.send(run)
            if not connection.poll(patience_s):
                raise self._lose(process, f"took longer than {patience_s} s (limits.decode_seconds)")
            answer = connection.recv()
        except (EOFError, OSError):
            process.join(1)
            raise self._lose(process, f"crashed the decoder (exit code {process.exitcode})") from None
        if isinstance(answer, BaseException):
            raise answer
        result: Result = answer
        return result

    def _process(self) -> tuple[BaseProcess, Connection]:
        current: tuple[BaseProcess, Connection] | None = getattr(self._slot, "process", None)
        if current is not None:
            return current
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._limits.decode_memory_mb, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        self._processes.add(process)
        self._slot.process = process, ours
        return process, ours

    def _lose(self, process: BaseProcess, how: str) -> WorkerLost:
        process.kill()
        process.join()
        self._processes.discard(process)
        self._slot.process[1].close()
        self._slot.process = None
        self.lost += 1
        return WorkerLost(how)


def _open(place: Place) -> int:
    try:
        root_fd = open_root(place.root)
    except OSError as error:
        raise RootAway(str(error)) from None
    try:
        status = os.fstat(root_fd)
        if (status.st_dev, status.st_ino) != place.folder:
            raise RootAway(f"{place.root} is another folder than before")
        return open_beneath(root_fd, place.path)
    except PermissionError as error:
        raise UnreadableError(f"{error.strerror}: the daemon's user may not read it") from None
    except (FileNotFoundError, NotADirectoryError, UnreadableError) as error:
        raise Vanished(str(error)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # the name, or a folder on the way, became a link
            raise Vanished(str(error)) from None
        raise
    finally:
        os.close(root_fd)


def _serve(connection: Connection, memory_mb: int, parent_pid: int) -> None:
    """The process: answers tasks until the pipe closes."""
    _drop_rights(memory_mb, parent_pid)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = task()
        except (Vanished, RootAway, Changing, UnreadableError, OSError) as error:
            answer = error
        except MemoryError:
            answer = UnreadableError("needs more memory than limits.decode_memory_mb")
        connection.send(answer)


def _drop_rights(memory_mb: int, parent_pid: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are for the daemon
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the daemon died before the line above
        os._exit(1)
    memory_bytes = memory_mb << 20
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
