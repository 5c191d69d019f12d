"""The pool: what becomes of processes that crash, hang, grow or answer what they should not."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from twinwatch.config import Limits
from twinwatch.decoding import decode_exact
from twinwatch.errors import UnreadableError, WorkersError
from twinwatch.workers import CompareTask, WorkerCrashed, WorkerKilled, WorkerPool, pool as module
from workers.samples import MEMORY_MB, SIZE, call, expected, inspect_task, picture, recompressed

PATIENCE_S = 2


# Decoders that were taken over


def test_an_answer_runs_no_code_of_the_decoders_choice(pool: WorkerPool, tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'owned')!r}, 'w')"
    with pytest.raises(WorkerCrashed, match=r"answer what it should not: builtins\.exec"):
        call(pool, "type('Evil', (), {'__reduce__': lambda self: (exec, (order,))})()", order=code)
    assert not (tmp_path / "owned").exists()
    assert call(pool, "frozenset({1})") == frozenset({1})


def test_an_answer_that_is_begun_and_never_ended_ends_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_TIMEOUT_S", 1)
    workers = WorkerPool(Limits(workers=1, decode_seconds=60, decode_memory_mb=MEMORY_MB))
    begin = (
        "(lambda os: [os.write(int(fd), bytes(3)) for fd in os.listdir('/proc/self/fd')"
        " if 'socket:' in os.path.realpath(f'/proc/self/fd/{fd}')])(__import__('os'))"
        " and __import__('time').sleep(60)"
    )
    started_s = time.monotonic()
    with pytest.raises((WorkerCrashed, WorkerKilled)):
        call(workers, begin)
    assert time.monotonic() - started_s < 30
    workers.close()


# Which process


def test_a_lone_picture_is_decoded_by_the_process_that_will_compare_it(share: Path) -> None:
    """And the result is the same, whether its candidates are known there or not."""
    copy, original = expected(share, "copy.png", picture(1)), expected(share, "a.jpg", recompressed(picture(1)))
    task = CompareTask(copy, (expected(share, "b.png", picture(2)), original), 0.6, 10**7, 300, 60)
    with WorkerPool(Limits(workers=2, decode_seconds=60, decode_memory_mb=MEMORY_MB)) as workers:
        first = workers.compare(task).result()
        for _ in range(2):
            found = workers.inspect(inspect_task(share, "copy.png")).result(60)
            assert found.picture is not None
            assert np.array_equal(found.picture.pixels, decode_exact(picture(1), SIZE, 300).pixels)
            assert workers.compare(task).result() == first
        (share / "broken.png").write_bytes(picture(1)[:-100])
        refused = workers.inspect(inspect_task(share, "broken.png")).result(60)
        assert (refused.picture, refused.reason) == (None, "damaged or not supported: image file is truncated")
        assert len(workers._processes) == 1
        both = [workers.inspect(inspect_task(share, "copy.png")) for _ in range(2)]
        assert [each.result(60).picture is None for each in both] == [False, False]
        assert len(workers._processes) == 2


# Crashes


def test_too_much_memory_is_a_refusal_not_a_crash(pool: WorkerPool) -> None:
    before = pool.lost
    with pytest.raises(UnreadableError, match=r"limits\.decode_memory_mb"):
        call(pool, f"bytearray({MEMORY_MB + 64} << 20)")
    assert pool.lost == before
    assert call(pool, "1 + 1") == 2


def test_the_least_memory_that_may_be_set_is_enough_for_a_picture(share: Path) -> None:
    (share / "a.png").write_bytes(picture(1, 2000, 1500))
    workers = WorkerPool(Limits(workers=1, decode_seconds=60, decode_memory_mb=512))
    try:
        assert workers.inspect(inspect_task(share, "a.png")).result(60).picture is not None
    finally:
        workers.close()


def test_a_worker_that_is_killed_is_replaced_and_its_task_tried_once_more(pool: WorkerPool, tmp_path: Path) -> None:
    before = pool.lost
    first = f"__import__('os').mkdir({str(tmp_path / 'tried')!r})"
    again = f"__import__('os').path.exists({str(tmp_path / 'tried')!r})"
    assert call(pool, f"'done' if {again} else ({first}, __import__('signal').raise_signal(9))") == "done"
    assert pool.lost == before + 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_task_that_crashes_two_workers_is_given_up(pool: WorkerPool, number: signal.Signals) -> None:
    before = pool.lost
    with pytest.raises(WorkerCrashed, match=rf"crashed the decoder \(exit code -{number}\)"):
        call(pool, f"__import__('signal').raise_signal({number})")
    assert pool.lost == before + 2
    assert call(pool, "1 + 1") == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_task_whose_workers_are_killed_may_be_tried_again(pool: WorkerPool, number: signal.Signals) -> None:
    with pytest.raises(WorkerKilled, match=rf"killed \(exit code -{number}\)"):
        call(pool, f"__import__('signal').raise_signal({number})")
    assert call(pool, "1 + 1") == 2


def test_workers_that_do_not_start_are_tried_at_longer_and_longer_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(module, "_MAX_FAILED_STARTS", 3)
    workers = WorkerPool(Limits(workers=1, decode_seconds=60, decode_memory_mb=MEMORY_MB))
    try:
        with monkeypatch.context() as broken:
            broken.setattr(module, "serve", os.abort)  # it takes no arguments
            started_s = time.monotonic()
            for _ in range(2):
                workers.require_startable()
                with pytest.raises(WorkerKilled, match=r"no decoder process started \(exit code 1\)"):
                    call(workers, "1 + 1")
            assert time.monotonic() - started_s >= 0.1 + 0.2 + 0.4
            with pytest.raises(WorkersError):
                workers.require_startable()
        assert call(workers, "1 + 1") == 2
        workers.require_startable()
    finally:
        workers.close()


def test_a_task_for_a_closed_pool_is_interrupted(share: Path) -> None:
    workers = WorkerPool(Limits(workers=1))
    workers.close()
    with pytest.raises(InterruptedError):
        workers.inspect(inspect_task(share, "a.jpg"))


def test_a_task_that_ends_its_process_is_given_up(pool: WorkerPool) -> None:
    with pytest.raises(WorkerCrashed, match=r"crashed the decoder \(exit code 7\)"):
        call(pool, "__import__('os')._exit(7)")


def test_an_idle_worker_that_died_costs_nothing(pool: WorkerPool, share: Path) -> None:
    """The out-of-memory killer may pick one at any time."""
    (share / "a.jpg").write_bytes(picture(1))
    os.kill(call(pool, "__import__('os').getpid()"), signal.SIGKILL)
    time.sleep(0.1)
    assert pool.inspect(inspect_task(share, "a.jpg")).result(60).picture is not None


def test_idle_workers_that_all_died_cost_a_task_one_more_try() -> None:
    with WorkerPool(Limits(workers=2, decode_seconds=60, decode_memory_mb=MEMORY_MB)) as workers:
        busy = SimpleNamespace(run=partial(time.sleep, 0.5))
        for each in [workers.inspect(busy) for _ in range(2)]:  # type: ignore[arg-type]
            each.result(60)
        assert len(workers._processes) == 2
        for process in list(workers._processes):
            process.kill()
            process.join()
        assert call(workers, "1 + 1") == 2


def test_an_exception_that_no_decoder_foresaw_is_contained(pool: WorkerPool) -> None:
    with pytest.raises(Exception, match=r"division|crashed the decoder"):
        call(pool, "1 / 0")
    assert call(pool, "1 + 1") == 2


def test_a_task_that_hangs_is_tried_twice_and_given_up() -> None:
    workers = WorkerPool(Limits(workers=1, decode_seconds=PATIENCE_S, decode_memory_mb=MEMORY_MB))
    try:
        start_s = time.monotonic()
        with pytest.raises(WorkerCrashed, match=rf"longer than {PATIENCE_S} s \(limits\.decode_seconds\)"):
            call(workers, "__import__('time').sleep(600)")
        assert time.monotonic() - start_s >= 2 * PATIENCE_S
        assert workers.lost == 2
    finally:
        workers.close()


def test_closing_ends_a_worker_at_work_and_does_not_try_again() -> None:
    workers = WorkerPool(Limits(workers=1, decode_seconds=600, decode_memory_mb=MEMORY_MB))
    task = SimpleNamespace(run=partial(time.sleep, 600))
    future = workers.inspect(task)  # type: ignore[arg-type]
    queued = workers.inspect(task)  # type: ignore[arg-type]
    until_s = time.monotonic() + 20
    while not workers._processes and time.monotonic() < until_s:
        time.sleep(0.01)
    time.sleep(0.3)
    (process,) = workers._processes
    closer = threading.Thread(target=workers.close)
    closer.start()
    closer.join(20)
    assert not closer.is_alive()
    assert not process.is_alive()
    assert queued.cancelled()
    with pytest.raises(InterruptedError):
        future.result(1)
