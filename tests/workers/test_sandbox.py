"""The rights and limits of a real process."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from twinwatch.workers import WorkerCrashed, WorkerPool
from workers.samples import MEMORY_MB, call, inspect_task, picture


def test_a_worker_has_few_rights(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(picture(1))
    pool.inspect(inspect_task(share, "a.jpg")).result(60)  # so it has grown
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
