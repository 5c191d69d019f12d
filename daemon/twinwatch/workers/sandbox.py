"""The sandbox of a decoder process: it may read files and compute, within its memory and time, and little else.

A hostile picture may take the process over, so every right is dropped for good, before the first task.
"""

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
    """Drop every right that decoding does not need, and limit memory to `memory_mb` beyond what is in use now.

    Ends the process where a right cannot be dropped, or where the daemon, `parent_pid`, has died already.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are meant for the daemon
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the daemon died before the line above
        os._exit(1)
    # RLIMIT_AS counts addresses, and libraries and the stacks of their threads, one a core, hold many already.
    memory_bytes = _address_space_bytes() + (memory_mb << 20)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    _drop_capabilities(libc)


def limit_cpu(task_s: int) -> None:
    """Have the kernel end this process once it has computed for `task_s` seconds on every core.

    The daemon waits no longer than that for a task; this limit also holds while the daemon is stopped.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    most_s = int(used.ru_utime + used.ru_stime) + task_s * len(os.sched_getaffinity(0)) + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Drop every capability but CAP_DAC_READ_SEARCH, or end the process: capabilities(7), capget(2).

    A daemon that runs as root reads everybody's files, and its decoders must too. With root's other capabilities, a
    decoder that was taken over could lift its own limits.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for capabilities 32 to 63
    libc.capget(header, sets)
    kept = sets[1] & 1 << _CAP_DAC_READ_SEARCH
    number = 0
    while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # only root may, and only root needs to
        number += 1
    if libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept)) != 0:
        os._exit(1)


def _address_space_bytes() -> int:
    """Return the size of this process's address space: proc_pid_statm(5)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
