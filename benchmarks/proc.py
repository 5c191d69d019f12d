"""CPU time and memory of running processes, from /proc: see proc(5)."""

from __future__ import annotations

import os
from pathlib import Path


def own_cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def cpu_s(pid: int) -> float:
    """Return the CPU time in seconds of a process and all its running descendants."""
    return own_cpu_s(pid) + sum(cpu_s(child) for child in children(pid))


def memory_mb(pid: int) -> float:
    """Return the proportional set size, in MB, of a process and all its descendants."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own_kb / 1024 + sum(memory_mb(child) for child in children(pid))


def children(pid: int) -> set[int]:
    """Return the running processes that the threads of a process have started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for thread in threads for child in (thread / "children").read_text().split()}
