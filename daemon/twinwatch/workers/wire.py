"""Answers of decoder processes, read as data: a process that was taken over can have no code run in the daemon."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import socket
import struct
from multiprocessing.connection import Connection
from typing import Any

MAX_ANSWER_BYTES = 1 << 24  # a picture for the encoder has some 12,000
ALLOWED = {
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
"""The classes and functions that an answer may name, by module: values, and the outcomes that are exceptions."""


class AnswerUnpickler(pickle.Unpickler):
    """An unpickler that creates nothing except what `ALLOWED` names. Raises UnpicklingError for any other name."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def read_answer(connection: Connection) -> Any:
    """Return the next answer of a process.

    Raises EOFError or OSError where no whole answer comes, and UnpicklingError where it is not one that is allowed.
    """
    data = connection.recv_bytes(MAX_ANSWER_BYTES)
    try:
        return AnswerUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # noqa: BLE001  bytes that are no pickle raise nearly anything
        raise pickle.UnpicklingError(str(error)) from None


def set_read_timeout(connection: Connection, timeout_s: int) -> None:
    """Have a read from the pipe fail with OSError when the process sends part of an answer and then stops."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", timeout_s, 0))
