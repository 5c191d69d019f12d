"""Decoder processes that may crash, hang or swell without hurting the daemon.

Each slot is a thread that hands a task at a time to a spawned process. A process that dies or outlasts its time is
replaced; the task is tried once more alone in a fresh one. What that dies of by itself is the task's fault; one that
was killed, or never came up, says nothing about the task.

What a process answers is read as data, not obeyed: one that was taken over by a picture has no say in the daemon.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self, TypeVar

import structlog

from twinwatch.config import Limits
from twinwatch.errors import WorkersError
from twinwatch.workers.tasks import UP, CompareResult, CompareTask, Inspection, InspectTask, serve

_KILLED_BY_OTHERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the first also for want of memory
_MOST_ANSWERED = 1 << 24  # bytes; a picture for the encoder has some 12,000
_ANSWERING_S = 10  # that an answer may be cut short for, once it has begun
_ANSWERS = {
    "twinwatch.workers.tasks": (
        "Inspection",
        "CompareResult",
        "CandidateMatch",
        "FileGone",
        "RootOffline",
        "FileChanged",
        "OutOfTime",
    ),
    "twinwatch.fs.identity": ("FileIdentity",),
    "twinwatch.decoding.decode": ("Picture",),
    "twinwatch.evidence.comparison": ("Evidence",),
    "twinwatch.errors": ("UnreadableError",),
    "builtins": (
        "frozenset",
        *(name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, OSError)),
    ),
    "numpy": ("ndarray", "dtype"),
    "numpy._core.multiarray": ("_reconstruct",),
}
"""What an answer may be made of, by module: values, and the outcomes that are exceptions."""
_START_S = 30.0  # a process that is not up by then will not be
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 16.0  # before a process is started again after one that did not come up
_MOST_FAILED_STARTS = 8
_MOST_COMPARING = 4  # processes for evidence, of 130 to 220 MB each; one thread judges what they find

_log = structlog.get_logger("twinwatch")


class WorkerCrashed(Exception):  # noqa: N818
    """Two processes in a row were lost on one task, the second by the task's own doing; the message says how."""


class WorkerKilled(OSError):  # noqa: N818
    """Two processes in a row were lost on one task, the second through no fault of it: try again later."""


Result = TypeVar("Result", Inspection, CompareResult)
_Worker = tuple[BaseProcess, Connection]


@dataclass(frozen=True, slots=True)
class _Slots:
    """Threads, and the processes of one kind that have nothing to do, the latest at work last."""

    threads: ThreadPoolExecutor
    compares: bool
    idle: list[_Worker] = field(default_factory=list)

    def take_idle(self) -> _Worker | None:
        try:
            return self.idle.pop()
        except IndexError:  # another thread may have been quicker
            return None


class WorkerPool:
    """A pool of processes; close it to end them. Each is started when it is needed.

    `eager` starts some sooner, for a job that will need them: a few that decode at once, and all that compare as soon
    as one does.
    """

    def __init__(self, limits: Limits, eager: bool = False) -> None:
        self.limits = limits
        self._processes: set[BaseProcess] = set()
        self._context = multiprocessing.get_context("spawn")
        self._decoders = _Slots(ThreadPoolExecutor(limits.worker_count, "worker-slot"), compares=False)
        # Evidence has slots of its own: the committing thread waits for it while the others decode ahead.
        self.comparing = min(limits.worker_count, _MOST_COMPARING)
        self._comparers = _Slots(ThreadPoolExecutor(self.comparing, "evidence-slot"), compares=True)
        self._unfinished: set[Future[Any]] = set()
        # As many processes as cores: threads of BLAS beside them would spin while they wait for one.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._closing = threading.Event()
        self._failed_starts = 0  # in a row
        self.lost = 0
        self._eager = eager
        if eager:
            self._begin(self._decoders, self.comparing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inspect(self, task: InspectTask) -> Future[Inspection]:
        """Run in some process; the future raises what that of `align` raises, but OutOfTime.

        It is one that compares where there is nothing else to do: that has the picture at hand if evidence is sought.
        """
        if self._comparers.idle and self._has_core_to_spare():
            return self._submit(self._comparers, partial(task.run, decode_ahead=True), task.run)
        return self._submit(self._decoders, task.run, task.run)

    def align(self, task: CompareTask) -> Future[CompareResult]:
        """Run in one of `comparing` processes, for no longer than two files may take to decode.

        The future raises FileGone, RootOffline, FileChanged, OutOfTime, WorkerCrashed, UnreadableError or OSError.
        """
        search = self._submit(self._comparers, partial(task.run, decode_ahead=self._has_core_to_spare()), task.run)
        if self._eager:
            self._eager = False
            self._begin(self._comparers, self.comparing - 1)
        return search

    def require_startable(self) -> None:
        """Raises WorkersError once processes have failed to start again and again."""
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise WorkersError(
                "no decoder process can be started: see the messages above this one; has Python been upgraded or "
                "moved, or is there no memory left?"
            )

    def close(self) -> None:
        """End every process, also those at work; what they did is not lost, it is done again later."""
        self._closing.set()
        for slots in (self._decoders, self._comparers):
            slots.threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()
            process.join()
        for slots in (self._decoders, self._comparers):
            slots.threads.shutdown()

    def _has_core_to_spare(self) -> bool:
        return self.comparing > 1 and not self._unfinished

    def _begin(self, slots: _Slots, count: int) -> None:
        """Let so many more processes start; one that cannot is met again with a task."""
        with contextlib.suppress(RuntimeError):  # it is closed
            for _ in range(count):
                slots.threads.submit(lambda: slots.idle.append(self._start(slots)))

    def _submit(self, slots: _Slots, run: Callable[[], Result], again: Callable[[], Result]) -> Future[Result]:
        """Run one, or if its process is lost the other."""
        try:
            future = slots.threads.submit(self._call, slots, run, again)
        except RuntimeError:  # it is closed
            raise InterruptedError("the daemon is stopping") from None
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def _call(self, slots: _Slots, run: Callable[[], Result], again: Callable[[], Result]) -> Result:
        try:
            return self._once(slots, slots.take_idle() or self._start(slots), run)
        except (WorkerCrashed, WorkerKilled):
            if self._closing.is_set():
                raise InterruptedError("the daemon is stopping") from None
            return self._once(slots, self._start(slots), again)

    def _once(self, slots: _Slots, worker: _Worker, run: Callable[[], Result]) -> Result:
        _, connection = worker
        patience_s = self.limits.decode_seconds
        try:
            connection.send(run)
            in_time = connection.poll(patience_s)
            answer: Any = _read(connection) if in_time else None
        except (EOFError, OSError):
            raise self._lost(worker) from None
        except pickle.UnpicklingError as error:
            self._drop(worker)
            raise WorkerCrashed(f"made the decoder answer what it should not: {error}") from None
        if not in_time:
            self._drop(worker)
            raise WorkerCrashed(f"took longer than {patience_s} s (limits.decode_seconds)")
        slots.idle.append(worker)
        if isinstance(answer, BaseException):
            raise answer
        result: Result = answer
        return result

    def _start(self, slots: _Slots) -> _Worker:
        """Return one more process, once it is up. Raises WorkerKilled or InterruptedError."""
        failed = self._failed_starts
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (failed - 1)) if failed else 0.0
        if self._closing.wait(pause_s):
            raise InterruptedError("the daemon is stopping")
        process, connection = worker = self._spawn(slots.compares)
        if self._closing.is_set():  # `close` may not have seen this process
            self._drop(worker)
            raise InterruptedError("the daemon is stopping")
        try:
            up = connection.poll(_START_S) and _read(connection) == UP
        except (EOFError, OSError, pickle.UnpicklingError):
            up = False
        if not up:
            process.join(1)
            self._drop(worker)
            self._failed_starts += 1
            _log.warning("a decoder process did not start", exit_code=process.exitcode)
            raise WorkerKilled(f"no decoder process started (exit code {process.exitcode})")
        self._failed_starts = 0
        return worker

    def _spawn(self, compares: bool) -> _Worker:
        # From this thread the process has it that an interrupt from the terminal, which is for all, leaves it alone.
        resource_tracker.ensure_running()  # the first process would start it, and that lifts the mask
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(theirs, self.limits.decode_memory_mb, self.limits.decode_seconds, os.getpid(), compares),
            daemon=True,
        )
        process.start()
        theirs.close()
        with socket.socket(fileno=os.dup(ours.fileno())) as end:  # one that stops in the middle of an answer
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWERING_S, 0))
        self._processes.add(process)
        return process, ours

    def _lost(self, worker: _Worker) -> WorkerCrashed | WorkerKilled:
        """Clear away a process that died at work; return whose doing that was."""
        process, _ = worker
        process.join(1)
        code = process.exitcode
        self._drop(worker)
        if code is None or -code in _KILLED_BY_OTHERS:
            return WorkerKilled(f"the decoder was killed (exit code {code})")
        return WorkerCrashed(f"crashed the decoder (exit code {code})")

    def _drop(self, worker: _Worker) -> None:
        process, connection = worker
        process.kill()
        process.join()
        self._processes.discard(process)
        connection.close()
        self.lost += 1


class _Answer(pickle.Unpickler):
    """Makes nothing but what `_ANSWERS` names, so that reading an answer runs no code of the sender's choice."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _ANSWERS.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _read(connection: Connection) -> Any:
    """Raises EOFError or OSError where there is no whole answer, UnpicklingError where it is none."""
    data = connection.recv_bytes(_MOST_ANSWERED)
    try:
        return _Answer(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # noqa: BLE001  bytes that are no pickle raise nearly anything
        raise pickle.UnpicklingError(str(error)) from None
