"""What running processes take, as /proc tells it: see proc(5)."""

from __future__ import annotations

import os
from pathlib import Path


def own_cpu_s(pid: int) -> float:
    """Seconds of processors that a process, without its children, took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def cpu_s(pid: int) -> float:
    """The same of a process and all that descend from it."""
    return own_cpu_s(pid) + sum(cpu_s(child) for child in children(pid))


def memory_mb(pid: int) -> float:
    """The proportional set size of a process and all that descend from it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return own_kb / 1024 + sum(memory_mb(child) for child in children(pid))


def children(pid: int) -> set[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for thread in threads for child in (thread / "children").read_text().split()}
