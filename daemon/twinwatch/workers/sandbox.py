"""What a decoder process may do: read, within its memory and time, and little else, whoever has taken it over."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_READ_SEARCH = 2
_MAX_OPEN_FILES = 64
_CPU_SLACK_S = 2


def drop_rights(memory_mb: int, parent_pid: int) -> None:
    """Give up for good what decoding does not need. Ends the process where that fails, or where the daemon has died."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are for the daemon
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the daemon died before the line above
        os._exit(1)
    # The limit is on addresses, of which libraries and the stacks of their threads, one a core, hold many already.
    memory_bytes = _held_bytes() + (memory_mb << 20)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    _keep_one_capability(libc)


def limit_cpu(task_s: int) -> None:
    """Let the kernel end a task that computes for longer than the daemon waits, also while the daemon is stopped."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most_s = int(used.ru_utime + used.ru_stime) + task_s * len(os.sched_getaffinity(0)) + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))


def _keep_one_capability(libc: ctypes.CDLL) -> None:
    """A daemon that root runs reads everybody's files; its decoders may read them too, and nothing else that root may.

    Otherwise a decoder that was taken over could lift its own limits. See capabilities(7), capget(2).
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same for the upper 32
    libc.capget(header, sets)
    kept = sets[1] & 1 << _CAP_DAC_READ_SEARCH
    number = 0
    while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # refused to whoever is not root, and needless there
        number += 1
    if libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept)) != 0:
        os._exit(1)


def _held_bytes() -> int:
    """Return how large this process is in addresses: proc_pid_statm(5)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
