"""The duplicates log: whole lines, whatever is cut short, and names that cannot forge one."""

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twinwatch.clock import utc_now
from twinwatch.reporting import DuplicatesLog, event_of, flush_outbox, path_fields
from twinwatch.store import Action, Kind, Store, Verdict, VerdictState, open_store
from twinwatch.wording import show_path

CASE = Verdict(
    id="0" * 32, file_id=None, time="2024-01-02T03:04:05.000Z", root=b"/srv", path=b"a.jpg", sha256="aa",
    original_root=b"/arc", original_path=b"sub/b.jpg", original_sha256="bb", kind=Kind.NEAR, distance=0.256789,
    cluster=3, evidence=0.912345, edit="flipped", action=Action.FLAGGED, better=True, state=VerdictState.DONE,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "duplicates.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[DuplicatesLog]:
    log = DuplicatesLog(path)
    yield log
    log.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "catalog.db")
    yield store
    store.close()


def entries(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_line_is_one_write(log: DuplicatesLog, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = os.write

    def note(fd: int, data: bytes) -> int:
        writes.append(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", note)
    log.append({"id": "a", "name": "é\n"})
    log.append({"id": "b"})
    assert [line.count(b"\n") for line in writes] == [1, 1]
    assert all(line.endswith(b"\n") for line in writes)
    assert path.read_bytes() == b"".join(writes)
    assert entries(path) == [{"id": "a", "name": "é\n"}, {"id": "b"}]


def test_two_writers_never_mix_their_lines(log: DuplicatesLog, path: Path) -> None:
    other = DuplicatesLog(path)
    for number in range(20):
        (log, other)[number % 2].append({"id": str(number)})
    other.close()
    assert [entry["id"] for entry in entries(path)] == [str(number) for number in range(20)]


def test_two_at_work_write_each_verdict_once(tmp_path: Path, path: Path, store: Store) -> None:
    for number in range(300):
        store.verdicts.add(replace(CASE, id=f"{number:032}"))
    store.commit()

    def write() -> None:
        mine, log = open_store(tmp_path / "catalog.db"), DuplicatesLog(path)
        start.wait()
        flush_outbox(mine, log)
        log.close()
        mine.close()

    start = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for writer in [pool.submit(write) for _ in range(4)]:
            writer.result()
    assert sorted(entry["id"] for entry in entries(path)) == [f"{number:032}" for number in range(300)]


def test_what_is_there_is_kept(path: Path) -> None:
    for word in ("one", "two"):
        log = DuplicatesLog(path)
        log.append({"id": word})
        log.close()
    assert [entry["id"] for entry in entries(path)] == ["one", "two"]
    assert path.stat().st_mode & 0o007 == 0


def test_after_a_rotation_it_writes_to_the_new_file(log: DuplicatesLog, path: Path) -> None:
    log.append({"id": "old"})
    path.rename(path.with_suffix(".1"))
    log.append({"id": "late"})
    log.reopen()
    log.append({"id": "new"})
    assert [entry["id"] for entry in entries(path.with_suffix(".1"))] == ["old", "late"]
    assert [entry["id"] for entry in entries(path)] == ["new"]


def test_where_it_cannot_be_reopened_the_old_file_stays_in_use(log: DuplicatesLog, path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.reopen()
    log.append({"id": "kept"})
    assert [entry["id"] for entry in entries(path.with_suffix(".1"))] == ["kept"]


def test_a_torn_last_line_is_ended(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"id": "whole"}\n{"id": "to')
    log = DuplicatesLog(path)
    log.append({"id": "next"})
    log.close()
    assert path.read_bytes() == b'{"id": "whole"}\n{"id": "to\n{"id": "next"}\n'


def test_a_disk_that_fills_within_a_line_spoils_that_line_only(
    log: DuplicatesLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        with pytest.raises(OSError, match="no space left"):
            log.append({"id": "torn"})
    log.append({"id": "torn"})
    lines = path.read_bytes().splitlines()
    assert lines[0] == b'{"id": '
    assert json.loads(lines[1]) == {"id": "torn"}


def test_it_holds_what_was_written(log: DuplicatesLog, path: Path) -> None:
    log.append({"id": "abc", "event": "duplicate"})
    assert log.contains("abc", "duplicate")
    assert not log.contains("abc", "restored")
    assert not log.contains("abd", "duplicate")
    with path.open("ab") as file:
        file.write(b'{"id": "torn", "event": "duplica')
    assert not log.contains("torn", "duplicate")


def test_it_holds_what_stands_after_much_else(log: DuplicatesLog) -> None:
    filler = {"id": "f", "event": "duplicate", "path": "x" * 500_000}
    log.append({"id": "far", "event": "duplicate"})
    for _ in range(10):
        log.append(filler)
    log.append({"id": "near", "event": "duplicate"})
    assert log.contains("near", "duplicate")
    assert not log.contains("far", "duplicate")


@pytest.mark.parametrize("line", [
    b"}", b"wanted }", b"\xff wanted \xfe}", b'{"note": "wanted"}', b'["wanted", {}', b'"wanted }', b"[wanted}",
])  # fmt: skip
def test_a_line_that_is_not_ours_does_not_stop_it(log: DuplicatesLog, path: Path, line: bytes) -> None:
    """A torn line may end in any byte, and another program may have written into the file."""
    with path.open("ab") as file:
        file.write(line + b"\n")
    log.append({"id": "wanted", "event": "duplicate"})
    assert log.contains("wanted", "duplicate")
    assert not log.contains("wanted", "restored")


# Names


@pytest.mark.parametrize(("path", "shown"), [
    (b"/srv/a b.jpg", "/srv/a b.jpg"),
    ("/srv/é漢😀.jpg".encode(), "/srv/é漢😀.jpg"),
    (b"/srv/a\nb", "/srv/a\\nb"),
    (b"/srv/a\r\t\0b", "/srv/a\\r\\t\\x00b"),
    (b"/srv/\x1b[31mred", "/srv/\\x1b[31mred"),
    (b"/srv/caf\xe9", "/srv/caf\\xe9"),
    ("/srv/\u202egnp.exe\u2028\x85".encode(), "/srv/\\u202egnp.exe\\u2028\\x85"),
])  # fmt: skip
def test_a_name_is_shown_so_that_it_can_forge_nothing(path: bytes, shown: str) -> None:
    assert show_path(path) == shown
    assert shown.isprintable()


@pytest.mark.parametrize("path", [b"a\nb", b"\x1b[2J", b"caf\xe9", b"\xed\xa0\x80", "\u202e".encode()])
def test_an_escaped_name_comes_with_its_bytes(path: bytes) -> None:
    fields = path_fields("path", path)
    assert base64.b64decode(fields["path_b64"]) == path


@pytest.mark.parametrize("path", [b"a.jpg", "é 漢".encode(), b"back\\slash"])
def test_a_name_that_is_shown_as_it_is_comes_alone(path: bytes) -> None:
    assert path_fields("path", path) == {"path": path.decode()}


def test_a_name_cannot_add_a_line(log: DuplicatesLog, path: Path) -> None:
    name = b'x"}\n{"id": "forged", "event": "duplicate"}\n\xff'
    log.append(event_of(replace(CASE, path=name)))
    (entry,) = entries(path)
    assert base64.b64decode(entry["path_b64"]) == b"/srv/" + name
    assert path.read_bytes().decode().isprintable() is False  # for its own line end only
    assert path.read_bytes().decode()[:-1].isprintable()


# Entries


def test_the_entry_of_a_near_copy() -> None:
    assert event_of(CASE) == {
        "time": CASE.time, "id": CASE.id, "event": "duplicate", "path": "/srv/a.jpg", "duplicate_of": "/arc/sub/b.jpg",
        "kind": "near", "distance": 0.2568, "cluster": 3, "evidence": 0.9123, "edit": "flipped", "action": "flagged",
        "sha256": "aa", "better": True,
    }  # fmt: skip


def test_the_entry_of_an_exact_copy_has_no_distance() -> None:
    entry = event_of(
        replace(CASE, kind=Kind.EXACT, quarantined_to=b".twinwatch/quarantine/files/0", action=Action.QUARANTINED)
    )
    assert entry["quarantined_to"] == "/srv/.twinwatch/quarantine/files/0"
    assert not {"distance", "cluster", "evidence", "edit"} & set(entry)


@pytest.mark.parametrize("event", ["restored", "dismissed"])
def test_a_later_event_has_a_time_of_its_own(event: str) -> None:
    moved = replace(CASE, action=Action.QUARANTINED, quarantined_to=b".twinwatch/quarantine/files/0")
    entry = event_of(
        replace(moved, state=VerdictState(event), event_at="2024-05-06T07:08:09.000Z", restored_to=b"a.restored-1.jpg")
    )
    assert entry["event"] == event
    assert entry["time"] == "2024-05-06T07:08:09.000Z"
    assert entry["restored_to"] == "/srv/a.restored-1.jpg"
    assert not {"action", "quarantined_to"} & set(entry), "it lies there no more"


def test_a_root_at_the_top_has_one_slash() -> None:
    assert event_of(replace(CASE, root=b"/"))["path"] == "/a.jpg"


def test_the_time_is_rfc_3339() -> None:
    from datetime import UTC, datetime

    assert utc_now().endswith("Z")
    assert abs((datetime.fromisoformat(utc_now()) - datetime.now(UTC)).total_seconds()) < 60


# From the catalogue


def add(store: Store, *numbers: int, **values: Any) -> None:
    for number in numbers:
        store.verdicts.add(replace(CASE, id=f"{number:032x}", time=f"2024-01-{number:02}T00:00:00.000Z", **values))
    store.commit()


def ids(path: Path) -> list[int]:
    return [int(entry["id"], 16) for entry in entries(path)]


def test_each_verdict_is_written_once_and_in_order(store: Store, log: DuplicatesLog, path: Path) -> None:
    add(store, 3, 1, 2)
    add(store, 4, state=VerdictState.PENDING)
    add(store, 5, state=VerdictState.DONE, logged="done")
    flush_outbox(store, log)
    flush_outbox(store, log)
    assert ids(path) == [1, 2, 3]
    store.verdicts.set_state(f"{2:032x}", VerdictState.RESTORED)
    flush_outbox(store, log)
    flush_outbox(store, log)
    assert [(int(entry["id"], 16), entry["event"]) for entry in entries(path)[3:]] == [(2, "restored")]


def test_that_it_was_written_is_remembered_by_the_next_start(
    store: Store, log: DuplicatesLog, path: Path, tmp_path: Path
) -> None:
    add(store, 1, 2)
    flush_outbox(store, log)
    other = open_store(tmp_path / "catalog.db")
    assert other.verdicts.unlogged() == []
    other.close()


@pytest.mark.parametrize(("after_crash", "expected"), [(True, [1, 2]), (False, [1, 1, 2])])
def test_after_a_crash_between_writing_and_noting_nothing_is_written_twice(
    store: Store, log: DuplicatesLog, path: Path, after_crash: bool, expected: list[int]
) -> None:
    add(store, 1, 2)
    log.append(event_of(store.verdicts.all()[0]))
    flush_outbox(store, log, after_crash)
    assert ids(path) == expected


def _refuse_second() -> Callable[[int, bytes], int]:
    write, calls = os.write, [0]

    def refuse(fd: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    return refuse


def test_what_a_full_disk_keeps_out_is_written_later(
    store: Store, log: DuplicatesLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 1, 2, 3)
    with monkeypatch.context() as full:
        full.setattr(os, "write", _refuse_second())
        with pytest.raises(OSError, match="No space"):
            flush_outbox(store, log)
    flush_outbox(store, log)
    assert ids(path) == [1, 2, 3]


def test_a_torn_line_on_a_full_disk_is_no_reason_to_fail_before_the_next_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"id": "to')

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        log = DuplicatesLog(path)
        with pytest.raises(OSError, match="No space"):
            log.append({"id": "next"})
    log.append({"id": "next"})
    log.close()
    assert path.read_bytes() == b'{"id": "to\n{"id": "next"}\n'
