"""The pool of decoder processes, which may crash, hang or grow without harm to the daemon.

1. A slot is a thread that sends one task at a time to a process.
2. A process that dies, or takes too long over a task, is replaced, and the task runs once more, alone in a new process.
3. If the new process crashes or takes too long as well, that is the task's fault: WorkerCrashed. If it was killed, or
   never started, it says nothing about the task: WorkerKilled.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Self, TypeVar

import structlog

from twinwatch.config import Limits
from twinwatch.errors import WorkersError
from twinwatch.workers.process import UP, serve
from twinwatch.workers.tasks import CompareResult, CompareTask, Inspection, InspectTask
from twinwatch.workers.wire import read_answer, set_read_timeout

_KILL_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGKILL also when memory runs out
_ANSWER_TIMEOUT_S = 10  # for the rest of an answer that has begun
_START_TIMEOUT_S = 30.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 16.0  # before the next start after a failed one; the pause doubles each time
_MAX_FAILED_STARTS = 8
_MAX_COMPARE_SLOTS = 4  # each process takes 130 to 220 MB, and one thread judges what they all find

_log = structlog.get_logger("twinwatch")


class WorkerCrashed(Exception):  # noqa: N818
    """A task ended two processes in a row, the second by a crash or its time limit. The message says how."""


class WorkerKilled(OSError):  # noqa: N818
    """A task lost two processes in a row, the second by no fault of the task. Try again later."""


Result = TypeVar("Result", Inspection, CompareResult)


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


@dataclass(frozen=True, slots=True)
class _Slots:
    """The threads for one kind of process, and the idle processes of that kind, the last one used at the end."""

    threads: ThreadPoolExecutor
    compares: bool
    idle: list[_Worker] = field(default_factory=list)

    def take_idle(self) -> _Worker | None:
        try:
            return self.idle.pop()
        except IndexError:  # none, or another thread was quicker
            return None


class WorkerPool:
    """A pool of decoder processes. Each starts when it is needed; `close` ends them all.

    `eager` starts some before they are needed, for a long job: a few decoders at once, and all that compare with the
    first comparison. `lost` counts the processes that ended before the pool was closed, `compare_slots` is the number
    of comparisons that can run at a time.
    """

    def __init__(self, limits: Limits, eager: bool = False) -> None:
        self.limits = limits
        self._processes: set[BaseProcess] = set()
        self._context = multiprocessing.get_context("spawn")
        self._decoders = _Slots(ThreadPoolExecutor(limits.worker_count, "worker-slot"), compares=False)
        # Comparisons have slots of their own: the committing thread waits for one while the others decode ahead.
        self.compare_slots = min(limits.worker_count, _MAX_COMPARE_SLOTS)
        self._comparers = _Slots(ThreadPoolExecutor(self.compare_slots, "evidence-slot"), compares=True)
        self._unfinished: set[Future[Any]] = set()
        # There are as many processes as cores. Further threads of BLAS would spin while they wait for a core.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._closing = threading.Event()
        self._failed_starts = 0  # in a row
        self.lost = 0
        self._eager = eager
        if eager:
            self._start_ahead(self._decoders, self.compare_slots)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inspect(self, task: InspectTask) -> Future[Inspection]:
        """Run the task in a process. The future raises what that of `compare` raises, except OutOfTime.

        While everything else is idle, the task runs in a process that compares: it then has the picture decoded when
        a comparison follows.
        """
        if self._comparers.idle and self._has_idle_core():
            return self._submit(self._comparers, partial(task.run, decode_ahead=True), task.run)
        return self._submit(self._decoders, task.run, task.run)

    def compare(self, task: CompareTask) -> Future[CompareResult]:
        """Run the task in a process that compares. Each of at most two attempts ends after limits.decode_seconds.

        The future raises FileGone, RootOffline, FileChanged, OutOfTime, WorkerCrashed, UnreadableError or OSError.
        """
        future = self._submit(self._comparers, partial(task.run, decode_ahead=self._has_idle_core()), task.run)
        if self._eager:
            self._eager = False
            self._start_ahead(self._comparers, self.compare_slots - 1)
        return future

    def require_startable(self) -> None:
        """Raise WorkersError once several processes in a row have failed to start."""
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise WorkersError(
                "no decoder process can be started: see the messages above this one; has Python been upgraded or "
                "moved, or is there no memory left?"
            )

    def close(self) -> None:
        """End every process, also those with a task. The futures of their tasks raise InterruptedError."""
        self._closing.set()
        for slots in (self._decoders, self._comparers):
            slots.threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()
            process.join()
        for slots in (self._decoders, self._comparers):
            slots.threads.shutdown()

    def _has_idle_core(self) -> bool:
        return self.compare_slots > 1 and not self._unfinished

    def _start_ahead(self, slots: _Slots, count: int) -> None:
        """Have `count` more processes start. A failed start is ignored here: the next task tries again."""
        with contextlib.suppress(RuntimeError):  # the pool is closed
            for _ in range(count):
                slots.threads.submit(lambda: slots.idle.append(self._start(slots)))

    def _submit(self, slots: _Slots, run: Callable[[], Result], retry: Callable[[], Result]) -> Future[Result]:
        """Have `run` called in a process, and `retry` in a new one if that process is lost."""
        try:
            future = slots.threads.submit(self._run, slots, run, retry)
        except RuntimeError:  # the pool is closed
            raise InterruptedError("the daemon is stopping") from None
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def _run(self, slots: _Slots, run: Callable[[], Result], retry: Callable[[], Result]) -> Result:
        try:
            return self._run_once(slots, slots.take_idle() or self._start(slots), run)
        except (WorkerCrashed, WorkerKilled):
            if self._closing.is_set():
                raise InterruptedError("the daemon is stopping") from None
            return self._run_once(slots, self._start(slots), retry)

    def _run_once(self, slots: _Slots, worker: _Worker, run: Callable[[], Result]) -> Result:
        timeout_s = self.limits.decode_seconds
        try:
            worker.connection.send(run)
            in_time = worker.connection.poll(timeout_s)
            answer: Any = read_answer(worker.connection) if in_time else None
        except (EOFError, OSError):
            raise self._reap(worker) from None
        except pickle.UnpicklingError as error:
            self._discard(worker)
            raise WorkerCrashed(f"made the decoder answer what it should not: {error}") from None
        if not in_time:
            self._discard(worker)
            raise WorkerCrashed(f"took longer than {timeout_s} s (limits.decode_seconds)")
        slots.idle.append(worker)
        if isinstance(answer, BaseException):
            raise answer
        result: Result = answer
        return result

    def _start(self, slots: _Slots) -> _Worker:
        """Start one more process and return it when it is up. Raises WorkerKilled or InterruptedError."""
        # Not tenacity, which repeats one call: a failed start here ends its task and delays the next start of any slot.
        failed = self._failed_starts
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** (failed - 1)) if failed else 0.0
        if self._closing.wait(pause_s):
            raise InterruptedError("the daemon is stopping")
        worker = self._spawn(slots.compares)
        if self._closing.is_set():  # `close` may have missed this process
            self._discard(worker)
            raise InterruptedError("the daemon is stopping")
        try:
            up = worker.connection.poll(_START_TIMEOUT_S) and read_answer(worker.connection) == UP
        except (EOFError, OSError, pickle.UnpicklingError):
            up = False
        if not up:
            worker.process.join(1)
            self._discard(worker)
            self._failed_starts += 1
            _log.warning("a decoder process did not start", exit_code=worker.process.exitcode)
            raise WorkerKilled(f"no decoder process started (exit code {worker.process.exitcode})")
        self._failed_starts = 0
        return worker

    def _spawn(self, compares: bool) -> _Worker:
        # Start multiprocessing's resource tracker first: starting it with the first process would clear the mask below.
        resource_tracker.ensure_running()
        # The child inherits this thread's signal mask, so Ctrl-C in the terminal does not kill it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(theirs, self.limits.decode_memory_mb, self.limits.decode_seconds, os.getpid(), compares),
            daemon=True,
        )
        process.start()
        theirs.close()
        set_read_timeout(ours, _ANSWER_TIMEOUT_S)
        self._processes.add(process)
        return _Worker(process, ours)

    def _reap(self, worker: _Worker) -> WorkerCrashed | WorkerKilled:
        """Discard a process that died during a task, and return the error that says whether the task is at fault."""
        worker.process.join(1)
        code = worker.process.exitcode
        self._discard(worker)
        if code is None or -code in _KILL_SIGNALS:
            return WorkerKilled(f"the decoder was killed (exit code {code})")
        return WorkerCrashed(f"crashed the decoder (exit code {code})")

    def _discard(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        self._processes.discard(worker.process)
        worker.connection.close()
        self.lost += 1
