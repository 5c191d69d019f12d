"""Answers on their way to the daemon: which are read, and which are refused."""

import importlib
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
import pytest

from twinwatch.decoding import Picture
from twinwatch.errors import ConfigError, UnreadableError
from twinwatch.evidence import Evidence
from twinwatch.fs import FileIdentity
from twinwatch.workers import (
    CandidateMatch,
    CompareResult,
    FileChanged,
    FileGone,
    Inspection,
    OutOfTime,
    RootOffline,
    wire,
)

IDENTITY = FileIdentity(1, 2, 3, 4, 5, 1)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        yield ours, theirs


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def test_every_allowed_name_is_where_it_is_looked_for() -> None:
    for module, names in wire.ALLOWED.items():
        for name in names:
            each = getattr(importlib.import_module(module), name)
            assert callable(each)
            assert module in ("builtins", each.__module__)


@pytest.mark.parametrize(
    "answer",
    [
        "up",
        Inspection(IDENTITY, "0" * 64, None, "not a picture in a known format"),
        CompareResult(None, frozenset({1, 2})),
        CompareResult(CandidateMatch(3, Evidence(0.9, "crop")), frozenset()),
    ],
)
def test_a_value_is_read_as_it_was_sent(pipe: tuple[Connection, Connection], answer: object) -> None:
    ours, theirs = pipe
    theirs.send(answer)
    assert wire.read_answer(ours) == answer


def test_pixels_are_read_as_they_were_sent(pipe: tuple[Connection, Connection]) -> None:
    ours, theirs = pipe
    theirs.send(Inspection(IDENTITY, "0" * 64, Picture(PIXELS, 4, 2, "PNG"), None))
    picture = wire.read_answer(ours).picture
    assert np.array_equal(picture.pixels, PIXELS)
    assert (picture.width, picture.height, picture.format) == (4, 2, "PNG")


@pytest.mark.parametrize(
    "outcome",
    [FileGone("a"), RootOffline("b"), FileChanged("c"), OutOfTime("d"), UnreadableError("e"), PermissionError(13, "f")],
)
def test_an_outcome_is_read_with_its_message(pipe: tuple[Connection, Connection], outcome: Exception) -> None:
    ours, theirs = pipe
    theirs.send(outcome)
    read = wire.read_answer(ours)
    assert (type(read), read.args) == (type(outcome), outcome.args)


@pytest.mark.parametrize(
    "answer",
    [
        Call(os.system, "true"),
        Call(eval, "1"),
        Call(getattr, "", "join"),
        Call(importlib.import_module, "this"),
        Call(open, "/dev/null"),
        ConfigError("x"),
        KeyboardInterrupt(),
        print,
        Connection,
    ],
)
def test_anything_else_is_refused(pipe: tuple[Connection, Connection], answer: object) -> None:
    ours, theirs = pipe
    theirs.send(answer)
    with pytest.raises(pickle.UnpicklingError):
        wire.read_answer(ours)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"no pickle", b"\x80\x05", b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f."]
)
def test_bytes_that_are_no_pickle_are_refused(pipe: tuple[Connection, Connection], data: bytes) -> None:
    ours, theirs = pipe
    theirs.send_bytes(data)
    with pytest.raises(pickle.UnpicklingError):
        wire.read_answer(ours)


def test_an_answer_of_any_size_is_not_waited_for(pipe: tuple[Connection, Connection]) -> None:
    ours, theirs = pipe
    os.write(theirs.fileno(), (wire.MAX_ANSWER_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(OSError, match="bad message length"):
        wire.read_answer(ours)


def test_a_process_that_is_gone_is_told_from_an_answer(pipe: tuple[Connection, Connection]) -> None:
    ours, theirs = pipe
    theirs.close()
    with pytest.raises(EOFError):
        wire.read_answer(ours)


def test_an_answer_that_stops_halfway_ends_in_time(pipe: tuple[Connection, Connection]) -> None:
    ours, theirs = pipe
    wire.set_read_timeout(ours, 1)
    os.write(theirs.fileno(), (100).to_bytes(4, "big") + b"half")
    with pytest.raises(BlockingIOError):
        wire.read_answer(ours)
