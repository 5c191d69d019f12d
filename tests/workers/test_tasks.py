"""The tasks, in a real process: what is found out about a file, and which original a copy has."""

import io
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinwatch.decoding import decode_exact
from twinwatch.errors import UnreadableError
from twinwatch.fs import FileIdentity
from twinwatch.workers import (
    CandidateMatch,
    CompareResult,
    CompareTask,
    ExpectedFile,
    FileChanged,
    FileGone,
    OutOfTime,
    RootOffline,
    WorkerPool,
)
from workers.samples import SIZE, expected, inspect_task, picture, recompressed, sha256

# What is found


def test_a_picture_is_identified_hashed_and_decoded(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    (share / "a.jpg").write_bytes(data)
    found = pool.inspect(inspect_task(share, "a.jpg")).result(60)
    assert found.identity == FileIdentity.of((share / "a.jpg").stat())
    assert (found.sha256, found.reason) == (sha256(data), None)
    assert found.picture is not None
    assert np.array_equal(found.picture.pixels, decode_exact(data, SIZE, 300).pixels)
    assert (found.picture.width, found.picture.height, found.picture.format) == (320, 240, "PNG")


def test_known_bytes_are_not_decoded(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"no picture")
    found = pool.inspect(inspect_task(share, "a.jpg", frozenset({sha256(b"no picture")}))).result(60)
    assert (found.picture, found.reason) == (None, None)


def test_what_is_no_picture_is_found_with_its_hash_and_the_reason(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"no picture")
    found = pool.inspect(inspect_task(share, "a.jpg")).result(60)
    assert (found.sha256, found.reason) == (sha256(b"no picture"), "not a picture in a known format")


def test_a_file_above_the_limit_is_refused_unread(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(b"")
    os.truncate(share / "a.jpg", 4 << 40)
    started_s = time.monotonic()
    with pytest.raises(UnreadableError, match=r"limits\.max_file_mb"):
        pool.inspect(inspect_task(share, "a.jpg")).result(60)
    assert time.monotonic() - started_s < 5


def test_a_file_that_is_not_there_has_vanished(pool: WorkerPool, share: Path) -> None:
    (share / "file").write_bytes(b"x")
    for name in ("none.jpg", "none/a.jpg", "file/a.jpg"):
        with pytest.raises(FileGone):
            pool.inspect(inspect_task(share, name)).result(60)


def test_what_is_no_regular_file_has_vanished_and_nothing_hangs(pool: WorkerPool, share: Path) -> None:
    os.mkfifo(share / "fifo.jpg")
    (share / "folder.jpg").mkdir()
    (share / "real.jpg").write_bytes(picture(1))
    (share / "link.jpg").symlink_to("real.jpg")
    (share / "linked").symlink_to(".")
    for name in ("fifo.jpg", "folder.jpg", "link.jpg", "linked/real.jpg"):
        with pytest.raises(FileGone):
            pool.inspect(inspect_task(share, name)).result(60)


def test_a_root_that_is_gone_or_replaced_is_away(pool: WorkerPool, share: Path) -> None:
    (share / "a.jpg").write_bytes(picture(1))
    task = inspect_task(share, "a.jpg")
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
        inspect_task(share, "a.jpg").run()


def test_a_file_that_may_not_be_read_is_unreadable(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinwatch.workers import tasks

    (share / "a.jpg").write_bytes(b"x")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tasks, "open_beneath", refuse)
    with pytest.raises(UnreadableError, match="Permission denied: the daemon's user may not read it"):
        inspect_task(share, "a.jpg").run()


# Evidence


def test_the_first_original_with_evidence_is_named(pool: WorkerPool, share: Path) -> None:
    smaller = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).resize((240, 180)).save(smaller, "JPEG", quality=80)
    copy = expected(share, "copy.jpg", smaller.getvalue())
    stranger, original = expected(share, "b.png", picture(2)), expected(share, "a.png", picture(1))
    proof = pool.compare(CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 60)).result().match
    assert isinstance(proof, CandidateMatch)
    assert proof.number == 1
    assert proof.evidence.score >= 0.6
    assert pool.compare(CompareTask(copy, (stranger,), 0.6, 10**7, 300, 60)).result().match is None
    assert pool.compare(CompareTask(copy, (), 0.6, 10**7, 300, 60)).result().match is None


def test_of_two_originals_the_older_is_named(pool: WorkerPool, share: Path) -> None:
    copy, stranger = expected(share, "copy.png", picture(1)), expected(share, "b.png", picture(2))
    near = replace(expected(share, "near.png", picture(1)), since_ns=2)
    older = replace(expected(share, "older.png", picture(1)), since_ns=1)
    younger = replace(expected(share, "younger.png", picture(1)), since_ns=3)
    proof = pool.compare(CompareTask(copy, (near, younger, stranger, older), 0.6, 10**7, 300, 60)).result().match
    assert proof is not None
    assert proof.number == 3
    out_of_time = pool.compare(CompareTask(copy, (near, older), 0.6, 10**7, 300, 0)).result().match
    assert out_of_time is not None
    assert out_of_time.number == 0


def test_evidence_ends_in_time_and_at_least_one_is_looked_at(pool: WorkerPool, share: Path) -> None:
    copy, stranger = expected(share, "copy.png", picture(1)), expected(share, "b.png", picture(2))
    original = expected(share, "a.png", picture(1))
    assert pool.compare(CompareTask(copy, (original, stranger), 0.6, 10**7, 300, 0)).result().match is not None
    with pytest.raises(OutOfTime, match="only 1 of 2"):
        pool.compare(CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 0)).result()


def test_an_original_that_is_not_what_it_was_is_none(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    copy = expected(share, "copy.png", data)
    gone, changed, broken, good = (expected(share, name, data) for name in ("gone", "changed", "broken", "good"))
    (share / "gone").unlink()
    (share / "changed").write_bytes(data + b"x")
    broken = expected(share, "broken", b"no picture")
    search = pool.compare(CompareTask(copy, (gone, changed, broken, good), 0.6, 10**7, 300, 60)).result()
    assert search.match is not None
    assert (search.match.number, search.missing) == (3, {0, 1, 2})


def test_what_is_known_of_its_bytes_tells_a_stranger_and_makes_no_original(pool: WorkerPool, share: Path) -> None:
    """A stranger need not be read again; whose pixels lined up before must still hold them."""
    small = picture(1, 120, 90)  # all that is known of it fits into what is kept
    copy, original = expected(share, "copy.png", small), expected(share, "a.jpg", recompressed(small))
    stranger = expected(share, "b.png", picture(2))
    task = CompareTask(copy, (stranger, original), 0.6, 10**7, 300, 60)
    assert pool.compare(task).result().match is not None
    (share / "b.png").unlink()
    search = pool.compare(task).result()
    assert (search.match is not None, search.missing) == (True, frozenset())
    (share / "a.jpg").write_bytes(picture(2))
    search = pool.compare(task).result()
    assert (search.match, search.missing) == (None, {1})


def test_what_was_decoded_for_one_search_is_no_proof_in_another(share: Path) -> None:
    copy, original = expected(share, "copy.png", picture(1)), expected(share, "a.jpg", recompressed(picture(1)))
    stranger, other = expected(share, "b.png", picture(2)), expected(share, "c.png", picture(3))

    def search(copy: ExpectedFile, *originals: ExpectedFile, decode_ahead: bool = False) -> CompareResult:
        return CompareTask(copy, originals, 0.6, 10**7, 300, 60).run(decode_ahead)

    assert search(copy, original).match is not None
    for _ in range(2):  # the second time it is known to be a stranger, and its pixels are not asked for
        search(other, original, decode_ahead=True)
    inspect_task(share, "a.jpg").run(decode_ahead=True)
    (share / "a.jpg").write_bytes(picture(2))
    assert search(copy, original) == CompareResult(None, frozenset({0}))
    search(other, stranger, decode_ahead=True)
    assert search(copy, original) == CompareResult(None, frozenset({0}))
    (share / "a.jpg").write_bytes(recompressed(picture(1)))
    assert search(copy, original).match is not None


def test_a_copy_that_is_not_what_it_was_is_told(pool: WorkerPool, share: Path) -> None:
    data = picture(1)
    copy, original = expected(share, "copy.png", data), expected(share, "original.png", data)
    (share / "copy.png").write_bytes(picture(2))
    with pytest.raises(FileChanged):
        pool.compare(CompareTask(copy, (original,), 0.6, 10**7, 300, 60)).result()
    with pytest.raises(FileChanged):
        pool.compare(CompareTask(copy, (original,), 0.6, 10, 300, 60)).result()
    (share / "copy.png").unlink()
    with pytest.raises(FileGone):
        pool.compare(CompareTask(copy, (original,), 0.6, 10**7, 300, 60)).result()
