"""Real worker processes: what they find, and what becomes of those that crash, hang or swell."""

import contextlib
import hashlib
import io
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from paint import paint
from PIL import Image

from twinwatch.config import Limits
from twinwatch.decoding import decode_exact
from twinwatch.errors import UnreadableError, WorkersError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.workers import (
    CandidateMatch,
    CompareResult,
    CompareTask,
    ExpectedFile,
    FileChanged,
    FileGone,
    FileRef,
    InspectTask,
    OutOfTime,
    RootOffline,
    WorkerCrashed,
    WorkerKilled,
    WorkerPool,
    pool as module,
)

MEMORY_MB, PATIENCE_S = 2048, 2
SIZE = (32, 24)


def picture(seed: int, width: int = 320, height: int = 240) -> bytes:
    buffer = io.BytesIO()
    paint(seed, width, height).save(buffer, "PNG")
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    workers = WorkerPool(Limits(workers=1, decode_seconds=60, decode_memory_mb=MEMORY_MB))
    yield workers
    workers.close()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


def place(share: Path, name: str) -> FileRef:
    return FileRef(share, folder_id(share), os.fsencode(name))


def inspect(share: Path, name: str, known: frozenset[str] = frozenset(), max_bytes: int = 10**7) -> InspectTask:
    return InspectTask(place(share, name), known, SIZE, max_bytes, 300)


def call(pool: WorkerPool, code: str, **names: object) -> Any:
    """Evaluate an expression in a worker; builtins can be sent there whatever the tests are called."""
    task = SimpleNamespace(run=partial(eval, code, {"os": None} | names))
    return pool.inspect(task).result(60)  # type: ignore[arg-type]


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


# What is found


def test_a_picture_is_identified_hashed_and_decoded(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    (share / "a.jpg").write_bytes(data)
    found = pool.inspect(inspect(share, "a.jpg")).result(60)
    assert found.identity == FileIdentity.of((share / "a.jpg").stat())
    assert (found.sha256, found.reason) == (sha256(data), None)
    assert found.picture is not None
    assert np.array_equal(found.picture.pixels, decode_exact(data, SIZE, 300).pixels)
    assert (found.picture.width, found.picture.height, found.picture.format) == (320, 240, "PNG")


def test_known_bytes_are_not_decoded(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"no picture")
    found = pool.inspect(inspect(share, "a.jpg", frozenset({sha256(b"no picture")}))).result(60)
    assert (found.picture, found.reason) == (None, None)


def test_what_is_no_picture_is_found_with_its_hash_and_the_reason(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"no picture")
    found = pool.inspect(inspect(share, "a.jpg")).result(60)
    assert (found.sha256, found.reason) == (sha256(b"no picture"), "not a picture in a known format")


def test_a_file_above_the_limit_is_refused_unread(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"")
    os.truncate(share / "a.jpg", 4 << 40)
    started_s = time.monotonic()
    with pytest.raises(UnreadableError, match=r"limits\.max_file_mb"):
        pool.inspect(inspect(share, "a.jpg")).result(60)
    assert time.monotonic() - started_s < 5


def test_a_file_that_is_not_there_has_vanished(pool: WorkerPool, share: Path) -> None:
    (share / "file").write_bytes(b"x")
    for name in ("none.jpg", "none/a.jpg", "file/a.jpg"):
        with pytest.raises(FileGone):
            pool.inspect(inspect(share, name)).result(60)


def test_what_is_no_regular_file_has_vanished_and_nothing_hangs(pool: WorkerPool, share: Path) -> None:
    os.mkfifo(share / "fifo.jpg")
    (share / "folder.jpg").mkdir()
    (share / "real.jpg").write_bytes(picture(1))
    (share / "link.jpg").symlink_to("real.jpg")
    (share / "linked").symlink_to(".")
    for name in ("fifo.jpg", "folder.jpg", "link.jpg", "linked/real.jpg"):
        with pytest.raises(FileGone):
            pool.inspect(inspect(share, name)).result(60)


def test_a_root_that_is_gone_or_replaced_is_away(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(picture(1))
    task = inspect(share, "a.jpg")
    share.rename(share.with_name("old"))
    with pytest.raises(RootOffline):
        pool.inspect(task).result(60)
    share.mkdir()
    (share / "a.jpg").write_bytes(picture(1))
    with pytest.raises(RootOffline, match="another folder"):
        pool.inspect(task).result(60)


def test_a_file_that_changes_while_it_is_read_is_changing(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, as the moment has to be met."""
    path = share / "a.jpg"
    path.write_bytes(picture(1))
    pread = os.pread

    def change(fd: int, count: int, offset: int) -> bytes:
        os.utime(path, ns=(1, offset + 2))
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", change)
    with pytest.raises(FileChanged):
        inspect(share, "a.jpg").run()


def test_a_file_that_may_not_be_read_is_unreadable(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinwatch.workers import tasks

    (share / "a.jpg").write_bytes(b"x")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tasks, "open_beneath", refuse)
    with pytest.raises(UnreadableError, match="Permission denied: the daemon's user may not read it"):
        inspect(share, "a.jpg").run()


# Evidence


def nominee(share: Path, name: str, data: bytes) -> ExpectedFile:
    (share / name).write_bytes(data)
    return ExpectedFile(place(share, name), sha256(data))


def recompressed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def test_the_first_original_with_evidence_is_named(pool: WorkerPool, share: Path) -> None:
    smaller = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).resize((240, 180)).save(smaller, "JPEG", quality=80)
    copy = nominee(share, "copy.jpg", smaller.getvalue())
    stranger, original = nominee(share, "b.png", picture(2)), nominee(share, "a.png", picture(1))
    proof = pool.compare(CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 60)).result().match
    assert isinstance(proof, CandidateMatch)
    assert proof.number == 1
    assert proof.evidence.score >= 0.6
    assert pool.compare(CompareTask(copy, (stranger,), 0.6, 10**7, 300, 60)).result().match is None
    assert pool.compare(CompareTask(copy, (), 0.6, 10**7, 300, 60)).result().match is None


def test_of_two_originals_the_older_is_named(pool: WorkerPool, share: Path) -> None:
    copy, stranger = nominee(share, "copy.png", picture(1)), nominee(share, "b.png", picture(2))
    near = replace(nominee(share, "near.png", picture(1)), since_ns=2)
    older = replace(nominee(share, "older.png", picture(1)), since_ns=1)
    younger = replace(nominee(share, "younger.png", picture(1)), since_ns=3)
    proof = pool.compare(CompareTask(copy, (near, younger, stranger, older), 0.6, 10**7, 300, 60)).result().match
    assert proof is not None
    assert proof.number == 3
    out_of_time = pool.compare(CompareTask(copy, (near, older), 0.6, 10**7, 300, 0)).result().match
    assert out_of_time is not None
    assert out_of_time.number == 0


def test_evidence_ends_in_time_and_at_least_one_is_looked_at(pool: WorkerPool, share: Path) -> None:
    copy, stranger = nominee(share, "copy.png", picture(1)), nominee(share, "b.png", picture(2))
    original = nominee(share, "a.png", picture(1))
    assert pool.compare(CompareTask(copy, (original, stranger), 0.6, 10**7, 300, 0)).result().match is not None
    with pytest.raises(OutOfTime, match="only 1 of 2"):
        pool.compare(CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 0)).result()


def test_an_original_that_is_not_what_it_was_is_none(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    copy = nominee(share, "copy.png", data)
    gone, changed, broken, good = (nominee(share, name, data) for name in ("gone", "changed", "broken", "good"))
    (share / "gone").unlink()
    (share / "changed").write_bytes(data + b"x")
    broken = nominee(share, "broken", b"no picture")
    search = pool.compare(CompareTask(copy, (gone, changed, broken, good), 0.6, 10**7, 300, 60)).result()
    assert search.match is not None
    assert (search.match.number, search.missing) == (3, {0, 1, 2})


def test_what_is_known_of_its_bytes_tells_a_stranger_and_makes_no_original(pool: WorkerPool, share: Path) -> None:
    """A stranger need not be read again; whose pixels lined up before must still hold them."""
    small = picture(1, 120, 90)  # all that is known of it fits into what is kept
    copy, original = nominee(share, "copy.png", small), nominee(share, "a.jpg", recompressed(small))
    stranger = nominee(share, "b.png", picture(2))
    task = CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 60)
    assert pool.compare(task).result().match is not None
    (share / "b.png").unlink()
    search = pool.compare(task).result()
    assert (search.match is not None, search.missing) == (True, frozenset())
    (share / "a.jpg").write_bytes(picture(2))
    search = pool.compare(task).result()
    assert (search.match, search.missing) == (None, {1})


def test_a_lone_picture_is_decoded_by_the_process_that_will_compare_it(share: Path) -> None:
    """And comes to the same, whether its nominees are known there or not."""
    copy, original = nominee(share, "copy.png", picture(1)), nominee(share, "a.jpg", recompressed(picture(1)))
    task = CompareTask(copy, (nominee(share, "b.png", picture(2)), original), 0.6, 10**7, 300, 60)
    with WorkerPool(Limits(workers=2, decode_seconds=60, decode_memory_mb=MEMORY_MB)) as workers:
        expected = workers.compare(task).result()
        for _ in range(2):
            found = workers.inspect(inspect(share, "copy.png")).result(60)
            assert found.picture is not None
            assert np.array_equal(found.picture.pixels, decode_exact(picture(1), SIZE, 300).pixels)
            assert workers.compare(task).result() == expected
        (share / "broken.png").write_bytes(picture(1)[:-100])
        refused = workers.inspect(inspect(share, "broken.png")).result(60)
        assert (refused.picture, refused.reason) == (None, "damaged or not supported: image file is truncated")
        assert len(workers._processes) == 1
        both = [workers.inspect(inspect(share, "copy.png")) for _ in range(2)]
        assert [each.result(60).picture is None for each in both] == [False, False]
        assert len(workers._processes) == 2


def test_what_was_decoded_for_one_search_is_no_proof_in_another(share: Path) -> None:
    copy, original = nominee(share, "copy.png", picture(1)), nominee(share, "a.jpg", recompressed(picture(1)))
    stranger, other = nominee(share, "b.png", picture(2)), nominee(share, "c.png", picture(3))

    def search(copy: ExpectedFile, *originals: ExpectedFile, decode_ahead: bool = False) -> CompareResult:
        return CompareTask(copy, originals, 0.6, 10**7, 300, 60).run(decode_ahead)

    assert search(copy, original).match is not None
    for _ in range(2):  # the second time it is known to be a stranger, and its pixels are not asked for
        search(other, original, decode_ahead=True)
    inspect(share, "a.jpg").run(decode_ahead=True)
    (share / "a.jpg").write_bytes(picture(2))
    assert search(copy, original) == CompareResult(None, frozenset({0}))
    search(other, stranger, decode_ahead=True)
    assert search(copy, original) == CompareResult(None, frozenset({0}))
    (share / "a.jpg").write_bytes(recompressed(picture(1)))
    assert search(copy, original).match is not None


def test_a_copy_that_is_not_what_it_was_is_told(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    copy, original = nominee(share, "copy.png", data), nominee(share, "original.png", data)
    (share / "copy.png").write_bytes(picture(2))
    with pytest.raises(FileChanged):
        pool.compare(CompareTask(copy, (original,), 0.6, 10**7, 300, 60)).result()
    with pytest.raises(FileChanged):
        pool.compare(CompareTask(copy, (original,), 0.6, 10, 300, 60)).result()
    (share / "copy.png").unlink()
    with pytest.raises(FileGone):
        pool.compare(CompareTask(copy, (original,), 0.6, 10**7, 300, 60)).result()


# Rights


def test_a_worker_has_few_rights(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(picture(1))
    pool.inspect(inspect(share, "a.jpg")).result(60)  # so it has grown
    status = call(pool, "open('/proc/self/status').read()")
    assert "\nNoNewPrivs:\t1\n" in status
    assert status != Path("/proc/self/status").read_text()
    limits = {name: call(pool, f"__import__('resource').getrlimit({number})") for name, number in (
        ("memory", resource.RLIMIT_AS), ("files", resource.RLIMIT_NOFILE),
        ("writes", resource.RLIMIT_FSIZE), ("core", resource.RLIMIT_CORE),
    )}  # fmt: skip
    own_bytes = limits["memory"][0] - (MEMORY_MB << 20)
    assert 0 < own_bytes < int(call(pool, "open('/proc/self/statm').read()").split()[0]) * resource.getpagesize()
    assert limits["memory"][1] == limits["memory"][0]
    assert limits["files"] == (64, 64)
    assert limits["writes"] == limits["core"] == (0, 0)


def test_every_task_has_its_own_time_to_compute(pool: WorkerPool) -> None:
    """The daemon waits for 60 s, and the kernel ends what computes for longer, on all cores together."""
    limit = f"__import__('resource').getrlimit({resource.RLIMIT_CPU})[0]"
    cores = len(os.sched_getaffinity(0))
    for _ in range(3):
        most_s, used_s = call(pool, limit), call(pool, "__import__('time').process_time()")
        assert used_s + 60 * cores - 1 < most_s <= used_s + 60 * cores + 2
        call(pool, "sum(range(30_000_000))")


def test_a_worker_cannot_write_into_a_file(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"")
    before = pool.lost
    with contextlib.suppress(OSError, WorkerCrashed):  # the kernel answers with SIGXFSZ, which Python ignores
        call(pool, f"__import__('os').write(__import__('os').open({str(share / 'a.jpg')!r}, 1), b'x')")
    assert (share / "a.jpg").read_bytes() == b""
    assert pool.lost == before


def test_the_signals_for_the_daemon_do_not_end_a_worker(pool: WorkerPool) -> None:
    pid = call(pool, "__import__('os').getpid()")
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    time.sleep(0.1)
    assert call(pool, "__import__('os').getpid()") == pid


def test_a_worker_dies_with_its_daemon(pool: WorkerPool) -> None:
    code = "(lambda n: (__import__('ctypes').CDLL(None).prctl(2, __import__('ctypes').byref(n)), n.value)[1])"
    assert call(pool, f"{code}(__import__('ctypes').c_int())") == signal.SIGKILL


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
        assert workers.inspect(inspect(share, "a.png")).result(60).picture is not None
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
        workers.inspect(inspect(share, "a.jpg"))


def test_a_task_that_ends_its_process_is_given_up(pool: WorkerPool) -> None:
    with pytest.raises(WorkerCrashed, match=r"crashed the decoder \(exit code 7\)"):
        call(pool, "__import__('os')._exit(7)")


def test_an_idle_worker_that_died_costs_nothing(pool: WorkerPool, share: Path) -> None:
    """The out-of-memory killer may pick one at any time."""
    (share / "a.jpg").write_bytes(picture(1))
    os.kill(call(pool, "__import__('os').getpid()"), signal.SIGKILL)
    time.sleep(0.1)
    assert pool.inspect(inspect(share, "a.jpg")).result(60).picture is not None


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
