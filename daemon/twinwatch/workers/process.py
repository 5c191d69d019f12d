"""The decoder process itself: it answers one task at a time until the pool closes the pipe.

It loads neither the pool nor the configuration, and OpenCV only where it compares.
"""

from __future__ import annotations

from multiprocessing.connection import Connection

from twinwatch.errors import UnreadableError
from twinwatch.workers import malloc
from twinwatch.workers.sandbox import drop_rights, limit_cpu
from twinwatch.workers.tasks import FileChanged, FileGone, OutOfTime, RootOffline

UP = "up"
"""What a process sends once, when it is ready for its first task."""


def serve(connection: Connection, memory_mb: int, task_s: int, parent_pid: int, compares: bool) -> None:
    """Run tasks from `connection`, and send back what each returns or the outcome that it raises.

    `task_s` are the seconds a task may take; a process that `compares` loads OpenCV before its memory is limited.
    """
    if compares:
        import cv2

        from twinwatch.evidence import compare  # noqa: F401  loads what comparing takes

        cv2.setNumThreads(1)
        malloc.keep_freed_memory()
    drop_rights(memory_mb, parent_pid)
    connection.send(UP)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        limit_cpu(task_s)
        try:
            answer = task()
        except (FileGone, RootOffline, FileChanged, OutOfTime, UnreadableError, OSError) as error:
            answer = error
        except MemoryError:
            answer = UnreadableError("needs more memory than limits.decode_memory_mb")
        connection.send(answer)
