"""One file's way, with real pictures, catalogue, encoder and evidence; decoders run in here, and fail on cue."""

import hashlib
import io
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from paint import paint

from twinwatch.config import Limits
from twinwatch.errors import StorageError, ThreadDiedError, UnreadableError
from twinwatch.fs import FileIdentity, folder_id
from twinwatch.judging import (
    Engine,
    Pipeline,
    WatchedRoots,
    committer as committing,
    in_flight,
    moving,
    pipeline as module,
)
from twinwatch.judging.candidates import Query
from twinwatch.judging.circuit_breaker import CircuitBreaker
from twinwatch.judging.evidence_search import OriginalFinder
from twinwatch.judging.feeder import Feeder
from twinwatch.judging.in_flight import InFlight
from twinwatch.judging.missing import MissingOriginals
from twinwatch.judging.resequencer import Resequencer
from twinwatch.judging.watched_root import WatchedRoot
from twinwatch.quarantine import MoveOrder, Quarantine, StorageFaultError
from twinwatch.search import Bundle, Encoder, ExactIndex, load_bundle
from twinwatch.store import File, FileState, QueueState, Root, Store, VerdictState, open_store
from twinwatch.store.contents import SqlContents
from twinwatch.store.store import SqliteStore
from twinwatch.workers import (
    CompareResult,
    CompareTask,
    FileChanged,
    FileGone,
    Inspection,
    InspectTask,
    OutOfTime,
    WorkerKilled,
)


class Decoders:
    """In place of Workers: fails for a path as often as told, and waits where told."""

    def __init__(self) -> None:
        self.failures: dict[bytes, list[BaseException]] = defaultdict(list)
        self.held: dict[bytes, threading.Event] = {}
        self.evidence_failures: list[BaseException] = []
        self.sought: list[CompareTask] = []
        self.inspected: list[bytes] = []
        self.compare_slots = 2
        self.limits = Limits()

    def inspect(self, task: InspectTask) -> Future[Inspection]:
        future: Future[Inspection] = Future()
        threading.Thread(target=self._answer, args=(task, future)).start()
        return future

    def _answer(self, task: InspectTask, future: Future[Inspection]) -> None:
        if task.place.path in self.held:
            self.held[task.place.path].wait(20)
        failures = self.failures[task.place.path]
        if failures:
            future.set_exception(failures.pop())
            return
        try:
            future.set_result(task.run())
            self.inspected.append(task.place.path)
        except Exception as error:  # noqa: BLE001  what a worker would hand on
            future.set_exception(error)

    def compare(self, task: CompareTask) -> Future[CompareResult]:
        self.sought.append(task)
        future: Future[CompareResult] = Future()
        if self.evidence_failures:
            future.set_exception(self.evidence_failures.pop())
        else:
            future.set_result(task.run())
        return future

    def require_startable(self) -> None:
        pass


@dataclass
class Bench:
    share: Path
    store: Store
    root: Root
    roots: WatchedRoots
    decoders: Decoders
    pipeline: Pipeline
    work_arrived: threading.Event
    engine: Engine
    arrivals: int = 0

    def quarantine(self) -> None:
        """From now on copies are moved."""
        quarantine = Quarantine(self.share)
        quarantine.prepare()
        self.roots.put(self.root.id, WatchedRoot(self.share, self.root.folder, False, quarantine))

    def put(self, name: str, data: bytes | None = None, preexisting: bool = False) -> None:
        """Write a file if there are bytes, and queue it as the intake would."""
        if data is not None:
            (self.share / name).write_bytes(data)
        self.arrivals += 1
        seen = FileIdentity.of((self.share / name).stat())
        self.store.queue.add(self.root.id, name.encode(), seen, preexisting, self.arrivals, QueueState.WAITING)
        self.store.commit()

    def rewrite(self, name: str, data: bytes) -> None:
        """Write a file, and queue it as the intake would, in a thread of its own."""
        (self.share / name).write_bytes(data)
        store = open_store(self.store.path)
        store.queue.add(
            self.root.id, name.encode(), FileIdentity.of((self.share / name).stat()), False, 99, QueueState.WAITING
        )
        store.commit()
        store.close()

    def report_gone(self, *files: File) -> None:
        """Say that a scan no longer found these files, as they were."""
        self.store.queue.report_gone(files)
        self.store.commit()

    def file(self, name: str) -> File:
        file = self.store.files.at(self.root.id, name.encode())
        assert file is not None
        return file

    def until(self, what: Callable[[], Any], patience_s: float = 20) -> None:
        until_s = time.monotonic() + patience_s
        while not what():
            assert time.monotonic() < until_s, "waited in vain"
            self.work_arrived.set()
            time.sleep(0.01)

    def settle(self) -> None:
        self.until(lambda: self.store.queue.count() == 0 and self.pipeline.in_flight() == 0)

    def states(self) -> dict[str, str]:
        return {name.decode(): file.state for name, file in self.store.files.in_folder(self.root.id, b"").items()}


@pytest.fixture(scope="module")
def trained(bundle: Path) -> tuple[Bundle, Encoder]:
    loaded = load_bundle(bundle)
    return loaded, Encoder(loaded, "cpu")


@pytest.fixture
def bench(tmp_path: Path, trained: tuple[Bundle, Encoder], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(in_flight, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "OVERTAKE_S", 0.2)
    share, path = tmp_path / "share", tmp_path / "catalog.db"
    share.mkdir()
    store = open_store(path)
    root = store.roots.add(share, folder_id(share), 0)
    store.commit()
    roots = WatchedRoots()
    roots.put(root.id, WatchedRoot(share, root.folder, protect=False))
    decoders, work_arrived = Decoders(), threading.Event()
    engine = Engine(*trained, decoders)  # type: ignore[arg-type]
    pipeline = Pipeline(path, engine, roots, None, work_arrived)
    bench = Bench(share, store, root, roots, decoders, pipeline, work_arrived, engine)
    yield bench
    bench.pipeline.stop()
    store.close()


def data(seed: int, side: int = 320, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    paint(seed).resize((side, side * 3 // 4)).save(buffer, kind, **options)
    return buffer.getvalue()


# Order


@pytest.mark.parametrize("smaller", [False, True], ids=["exact", "near"])
def test_who_comes_first_is_the_original_though_it_is_slow_to_read(bench: Bench, smaller: bool) -> None:
    bench.decoders.held[b"slow.png"] = slow = threading.Event()
    bench.put("slow.png", data(1))
    bench.put("quick.png", data(1, 240 if smaller else 320))
    bench.put("other.png", data(2))
    bench.until(lambda: bench.states() == {"slow.png": "new", "quick.png": "kept", "other.png": "kept"}, 5)
    slow.set()
    bench.settle()
    assert bench.states() == {"slow.png": "kept", "quick.png": "duplicate", "other.png": "kept"}
    (case,) = bench.store.verdicts.all()
    assert (case.path, case.original_path) == (b"quick.png", b"slow.png")


# Evidence ahead


def let_a_copy_wait_behind_a_slow_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, slow_is: int, copied: int, between: Sequence[int] = ()
) -> None:
    """No file goes ahead of another one, and all are judged in the end. Picture 10 is near to 1, a.png's; 25 is not."""
    joined, join = list[int](), Resequencer.push

    def note(line: Resequencer[Any], number: int, *others: Any) -> None:
        join(line, number, *others)
        joined.append(number)

    monkeypatch.setattr(Resequencer, "push", note)
    monkeypatch.setattr(Resequencer, "until_pop_s", lambda line, _now_s: 0.0 if line._next in line._waiting else None)
    bench.put("a.png", data(1))
    bench.settle()
    bench.decoders.held[b"slow.png"] = slow = threading.Event()
    bench.put("slow.png", data(slow_is))
    for number in between:
        bench.put(f"{number}.png", data(number))
    bench.put("copy.png", data(copied, 240))
    bench.until(lambda: sorted(joined) == [0, *range(2, 3 + len(between))])
    slow.set()
    bench.settle()


def test_evidence_that_was_sought_before_a_files_turn_is_not_sought_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=25, copied=1)
    assert bench.states() == {"a.png": "kept", "slow.png": "kept", "copy.png": "duplicate"}
    assert [task.copy.place.path for task in bench.decoders.sought].count(b"copy.png") == 1


def test_evidence_is_sought_past_those_who_have_nobody_near(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = (17, 20, 30, 31, 37, 48, 56, 57, 59)  # to picture 1, though not to each other
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=25, copied=1, between=strangers)
    assert bench.decoders.sought[0].copy.place.path == b"copy.png"
    assert bench.states()["copy.png"] == "duplicate"


def test_evidence_is_sought_for_no_more_than_the_processes_can_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought, most = list[Future[CompareResult]](), 0

    def answer(task: CompareTask, future: Future[CompareResult]) -> None:
        if future.set_running_or_notify_cancel():
            future.set_result(task.run())

    def align_slowly(task: CompareTask) -> Future[CompareResult]:
        nonlocal most
        sought.append(Future())
        threading.Timer(0.2, answer, (task, sought[-1])).start()
        most = max(most, sum(not each.done() for each in sought))
        return sought[-1]

    monkeypatch.setattr(bench.decoders, "compare", align_slowly)
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=25, copied=1, between=(8, 9, 10, 11, 12, 14, 15))
    assert most == 2 * bench.decoders.compare_slots < 7


def test_evidence_that_missed_an_original_ahead_of_time_is_sought_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, away, align = bench.share / "a.png", bench.share / "away.png", bench.decoders.compare

    def align_while_it_is_away(task: CompareTask) -> Future[CompareResult]:
        if bench.decoders.sought:
            return align(task)
        original.rename(away)
        found = align(task)
        away.rename(original)
        return found

    monkeypatch.setattr(bench.decoders, "compare", align_while_it_is_away)
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=25, copied=1)
    assert bench.states() == {"a.png": "kept", "slow.png": "kept", "copy.png": "duplicate"}
    assert [task.copy.place.path for task in bench.decoders.sought] == [b"copy.png", b"copy.png"]


def test_evidence_that_was_sought_before_the_original_was_known_is_sought_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=10, copied=10)
    assert bench.states() == {"a.png": "kept", "slow.png": "kept", "copy.png": "duplicate"}
    sought = [task for task in bench.decoders.sought if task.copy.place.path == b"copy.png"]
    assert [len(task.originals) for task in sought] == [1, 2]


def test_what_is_sought_ahead_and_not_begun_makes_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    align, ahead, dropped = bench.decoders.compare, Future[CompareResult](), list[bool]()

    def align_the_second_only(task: CompareTask) -> Future[CompareResult]:
        if bench.decoders.sought:
            dropped.append(ahead.cancelled())
            return align(task)
        bench.decoders.sought.append(task)
        return ahead

    monkeypatch.setattr(bench.decoders, "compare", align_the_second_only)
    let_a_copy_wait_behind_a_slow_one(bench, monkeypatch, slow_is=10, copied=1)
    assert dropped == [True, True]
    assert [task.copy.place.path for task in bench.decoders.sought] == [b"copy.png", b"slow.png", b"copy.png"]
    assert bench.states()["copy.png"] == "duplicate"


def let_a_copy_wait_for_evidence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Future[CompareResult]:
    """Return once it does: what it waits for."""
    align, answer = bench.decoders.compare, Future[CompareResult]()
    monkeypatch.setattr(bench.decoders, "compare", lambda task: align(task) and answer)
    bench.put("a.png", data(1))
    bench.settle()
    bench.put("copy.png", data(1, 240))
    bench.until(lambda: bench.decoders.sought)
    return answer


@pytest.mark.timeout(30)
def test_who_waits_for_evidence_is_let_go_when_the_decoders_are_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = let_a_copy_wait_for_evidence(bench, monkeypatch)
    queued.cancel()  # as a pool that is shut down does with what no process has begun
    bench.until(lambda: bench.pipeline.in_flight() == 0)
    assert bench.states()["copy.png"] == "new"
    assert bench.store.queue.count() == 1


def test_who_waits_for_evidence_gives_signs_of_life(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    late = let_a_copy_wait_for_evidence(bench, monkeypatch)
    time.sleep(2.5)
    assert time.monotonic() - bench.pipeline.beat_s < 2
    late.set_result(CompareResult(None, frozenset()))
    bench.settle()


# What was away


@pytest.fixture
def archive(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WatchedRoot:
    """One more root, in which an original lies."""
    monkeypatch.setattr(committing, "MISSING_S", 0.05)
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "a.png").write_bytes(data(1))
    root = bench.store.roots.add(folder, folder_id(folder), 0)
    archive = WatchedRoot(folder, root.folder, protect=True)
    bench.roots.put(root.id, archive)
    bench.store.queue.add(root.id, b"a.png", FileIdentity.of((folder / "a.png").stat()), False, 0, QueueState.WAITING)
    bench.store.commit()
    bench.settle()
    return archive


def id_of(bench: Bench, root: WatchedRoot) -> int:
    return next(number for number in bench.roots.ids() if bench.roots.get(number) is root)


def test_a_file_whose_folder_goes_away_for_a_moment_waits_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    find, away, tries = OriginalFinder.find, bench.share.parent / "away", list[int]()

    def find_while_it_is_away(*given: Any, **more: Any) -> Any:
        tries.append(1)
        if len(tries) > 1:
            return find(*given, **more)
        bench.share.rename(away)
        try:
            return find(*given, **more)
        finally:
            away.rename(bench.share)

    monkeypatch.setattr(OriginalFinder, "find", find_while_it_is_away)
    monkeypatch.setattr(MissingOriginals, "look", lambda _missing: None)  # which would mend it later
    bench.put("copy.png", data(1))
    bench.until(lambda: len(tries) > 1)
    bench.settle()
    assert bench.states() == {"a.png": "kept", "copy.png": "duplicate"}


@pytest.mark.parametrize("side", [320, 240], ids=["exact", "near"])
def test_a_copy_of_what_was_away_is_found_once_that_is_back(bench: Bench, archive: WatchedRoot, side: int) -> None:
    root_id = id_of(bench, archive)
    bench.roots.detach(root_id)
    bench.put("copy.png", data(1, side))
    bench.settle()
    assert bench.states() == {"copy.png": "kept"}
    time.sleep(1.0)  # it is looked for in vain
    bench.roots.put(root_id, archive)
    bench.until(lambda: bench.states() == {"copy.png": "duplicate"})
    (case,) = bench.store.verdicts.all()
    assert case.original_root.endswith(b"archive")


def test_what_was_away_is_remembered_over_a_restart(
    bench: Bench, archive: WatchedRoot, trained: tuple[Bundle, Encoder]
) -> None:
    root_id = id_of(bench, archive)
    bench.roots.detach(root_id)
    bench.put("copy.png", data(1))
    bench.settle()
    bench.pipeline.stop()
    bench.roots.put(root_id, archive)
    engine = Engine(*trained, bench.decoders)  # type: ignore[arg-type]
    bench.pipeline = Pipeline(bench.store.path, engine, bench.roots, None, bench.work_arrived)
    bench.until(lambda: bench.states() == {"copy.png": "duplicate"})


def test_a_copy_of_what_was_taken_away_and_brought_back_as_it_was_is_found(bench: Bench, archive: WatchedRoot) -> None:
    (archive.path / "a.png").rename(archive.path.parent / "a.png")
    bench.put("copy.png", data(1))
    bench.settle()
    assert bench.states() == {"copy.png": "kept"}
    time.sleep(1.0)  # it is looked for in vain
    (archive.path.parent / "a.png").rename(archive.path / "a.png")
    bench.until(lambda: bench.states() == {"copy.png": "duplicate"})


def test_what_is_there_and_cannot_be_compared_is_not_compared_on_and_on(
    bench: Bench, archive: WatchedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[CompareTask] = []

    def miss(task: CompareTask) -> Future[CompareResult]:
        sought.append(task)
        future: Future[CompareResult] = Future()
        future.set_result(CompareResult(None, frozenset({0})))
        return future

    monkeypatch.setattr(bench.decoders, "compare", miss)
    bench.put("copy.png", data(1, 240))
    bench.settle()
    until_s = time.monotonic() + 3
    bench.until(lambda: time.monotonic() > until_s)
    assert 1 <= len(sought) <= 3
    assert bench.states() == {"copy.png": "kept"}


def test_a_folder_that_goes_away_while_its_file_is_judged_costs_no_verdict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    root, find = bench.roots.require(bench.root.id), OriginalFinder.find

    def find_and_lose(*given: Any, **more: Any) -> Any:
        found = find(*given, **more)
        bench.roots.detach(bench.root.id)
        return found

    monkeypatch.setattr(OriginalFinder, "find", find_and_lose)
    bench.put("copy.png", data(1))
    bench.until(lambda: not bench.roots.ids() and bench.pipeline.in_flight() == 0)
    assert bench.states() == {"a.png": "kept", "copy.png": "new"}
    monkeypatch.setattr(OriginalFinder, "find", find)
    bench.roots.put(bench.root.id, root)
    bench.settle()
    assert bench.states() == {"a.png": "kept", "copy.png": "duplicate"}


# Faults


@pytest.mark.parametrize(("times", "state"), [(2, "duplicate"), (3, "kept")])
def test_evidence_that_there_was_no_time_for_is_sought_three_times(bench: Bench, times: int, state: str) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    bench.decoders.evidence_failures = [OutOfTime("only 1 of 7 pictures near it were compared in time")] * times
    bench.put("copy.png", data(1, 240))
    bench.settle()
    assert bench.states()["copy.png"] == state


def test_a_file_whose_decoder_was_killed_is_tried_again(bench: Bench) -> None:
    bench.decoders.failures[b"a.png"] = [WorkerKilled("killed")] * (in_flight.MAX_KILLS - 1)
    bench.put("a.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept"}


def test_a_file_whose_decoder_is_always_killed_waits_for_the_next_scan(bench: Bench) -> None:
    bench.decoders.failures[b"a.png"] = [WorkerKilled("killed")] * in_flight.MAX_KILLS
    bench.put("a.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "unreadable"}
    assert bench.file("a.png").identity != FileIdentity.of((bench.share / "a.png").stat())
    bench.put("a.png")
    bench.settle()
    assert bench.states() == {"a.png": "kept"}


def test_a_copy_is_found_though_the_process_that_looks_for_evidence_is_killed(bench: Bench) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    bench.decoders.evidence_failures = [WorkerKilled("killed")]
    bench.put("b.png", data(1, 240))
    bench.settle()
    assert bench.states()["b.png"] == "duplicate"


def test_what_changes_while_it_is_read_is_looked_at_again_once_that_is_committed(bench: Bench) -> None:
    bench.decoders.failures[b"a.png"] = [FileChanged()]
    bench.put("a.png", data(1))
    bench.settle()
    beside = open_store(bench.store.path)  # sees what is committed only
    file = beside.files.at(bench.root.id, b"a.png")
    assert file is not None
    assert file.identity.mtime_ns == -1
    assert beside.queue.take_to_settle([bench.root.id]) == [(bench.root.id, b"a.png")]
    beside.close()


def test_what_could_not_be_read_for_a_while_is_what_it_was(bench: Bench) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    bench.put("copy.png", data(1))
    bench.settle()
    bench.decoders.failures[b"a.png"] = [UnreadableError("Permission denied")]
    bench.put("a.png")
    bench.settle()
    assert bench.states() == {"a.png": "unreadable", "copy.png": "duplicate"}
    bench.put("a.png")
    bench.settle()
    assert bench.states() == {"a.png": "kept", "copy.png": "duplicate"}


def test_what_a_scan_missed_as_it_went_to_quarantine_is_not_gone(bench: Bench) -> None:
    bench.put("a.png", data(1))
    bench.put("b.png", data(2))
    bench.settle()
    moved, deleted = bench.file("a.png"), bench.file("b.png")
    bench.store.files.mark_quarantined(moved.id)
    bench.report_gone(moved, deleted)
    bench.until(lambda: getattr(bench.store.files.get(deleted.id), "state", "") == "gone")
    assert getattr(bench.store.files.get(moved.id), "state", "") == "quarantined"


def test_a_catalogue_that_cannot_be_written_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    refusals, commit = [1, 1], SqliteStore.commit

    def refuse(store: SqliteStore) -> None:
        if refusals and threading.current_thread().name == "commit":
            refusals.pop()
            raise StorageError("locked")
        commit(store)

    monkeypatch.setattr(SqliteStore, "commit", refuse)
    (bench.share / "a.png").unlink()
    bench.report_gone(bench.file("a.png"))
    bench.until(lambda: bench.states() == {})
    refusals[:] = [1, 1]
    bench.put("b.png", data(2))
    bench.settle()
    assert bench.states() == {"b.png": "kept"}
    bench.pipeline.raise_if_unhealthy()


def test_a_file_that_was_judged_again_since_the_scan_is_not_forgotten(bench: Bench) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    missed = bench.file("a.png")
    bench.put("a.png", data(2))
    bench.settle()
    bench.report_gone(missed)
    for number in (3, 4):  # by the second the thread has gone round
        bench.put(f"{number}.png", data(number))
        bench.settle()
    assert bench.states()["a.png"] == "kept"


def test_a_thread_that_ends_is_told_and_hangs_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.pipeline._reclustering, "step", lambda *_: 1 / 0)
    monkeypatch.setattr(bench.pipeline._batcher, "_embed", lambda *_: 1 / 0)
    bench.put("a.png", data(1))
    bench.until(lambda: not bench.pipeline.alive())
    with pytest.raises(ThreadDiedError, match=r"thread has ended.*ZeroDivisionError"):
        bench.pipeline.raise_if_unhealthy()
    started_s = time.monotonic()
    bench.pipeline.stop()
    assert time.monotonic() - started_s < 5


def test_an_original_that_is_closed_to_the_daemon_switches_nothing_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.quarantine()
    bench.put("a.png", data(1))
    bench.settle()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(moving, "open_beneath", refuse)
    bench.put("copy.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept", "copy.png": "duplicate"}
    assert [root.tripped for root in bench.store.roots.all()] == [None]
    monkeypatch.undo()
    bench.put("second.png", data(1))
    bench.settle()
    assert not (bench.share / "second.png").exists()


def test_a_file_that_comes_back_before_it_is_noted_as_gone_is_judged(bench: Bench) -> None:
    """As at the start, while all that is known is read and nothing can be judged."""
    gone = bench.decoders.held[b"a.png"] = threading.Event()
    bench.decoders.failures[b"a.png"].append(FileGone())
    bench.put("a.png", data(1))
    bench.until(bench.pipeline.in_flight)
    (bench.share / "a.png").unlink()
    bench.put("a.png", data(2))
    gone.set()
    bench.settle()
    assert bench.states() == {"a.png": "kept"}


def test_what_has_no_embedding_is_not_looked_for_again_and_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at every file, so an answer that there is nothing is believed for a while; but not of other roots."""
    asked: list[list[int]] = []
    real = SqlContents.lacking_embedding

    def ask(contents: SqlContents, bundle_id: str, limit: int, roots: list[int], exclude: set[int]) -> list[File]:
        asked.append(roots)
        return real(contents, bundle_id, limit, roots, exclude)

    monkeypatch.setattr(SqlContents, "lacking_embedding", ask)
    bench.pipeline.stop()
    asked.clear()
    feeder = Feeder(bench.engine, bench.roots, InFlight(), lambda _item: None)
    assert feeder.feed(bench.store) == 0
    assert feeder.feed(bench.store) == 0
    assert asked == [[bench.root.id]]
    known = feeder._all_embedded
    assert known is not None
    feeder._all_embedded = replace(known, until_s=0.0)  # time passes
    feeder.feed(bench.store)
    assert len(asked) == 1  # but nothing has changed
    bench.store.roots.resume(bench.root.id)
    bench.store.commit()
    for _ in range(2):
        feeder.feed(bench.store)
    assert len(asked) == 2
    bench.roots.detach(bench.root.id)
    feeder.feed(bench.store)
    assert asked[2:] == [[]]


# What is moved


def test_a_copy_is_moved_unless_it_stood_there_or_was_put_back(bench: Bench) -> None:
    bench.quarantine()
    bench.put("a.png", data(1), preexisting=True)
    bench.put("standing.png", data(1), preexisting=True)
    bench.put("copy.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept", "standing.png": "duplicate"}
    assert not (bench.share / "copy.png").exists()
    (case,) = bench.store.verdicts.quarantined()
    bench.store.verdicts.set_state(case.id, VerdictState.RESTORED)
    bench.put("copy.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept", "standing.png": "duplicate", "copy.png": "kept"}


def test_a_verdict_is_on_record_before_the_file_is_moved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.quarantine()
    move, known = Quarantine.move, list[tuple[str, bytes]]()

    def look(quarantine: Quarantine, order: MoveOrder, original_fd: int) -> object:
        beside = open_store(bench.store.path)
        known.extend((case.id, case.path) for case in beside.verdicts.all(state=VerdictState.PENDING))
        beside.close()
        assert known == [(order.id, b"copy.png")]
        return move(quarantine, order, original_fd)

    monkeypatch.setattr(Quarantine, "move", look)
    bench.put("a.png", data(1))
    bench.put("copy.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept"}
    assert [(case.id, case.path) for case in bench.store.verdicts.quarantined()] == known


def test_a_fault_of_the_storage_switches_moving_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.quarantine()

    def fail(*_: object) -> None:
        raise StorageFaultError("input/output error")

    monkeypatch.setattr(Quarantine, "move", fail)
    bench.put("a.png", data(1))
    bench.put("copy.png", data(1))
    bench.settle()
    monkeypatch.undo()
    bench.put("second.png", data(1))
    bench.settle()
    assert bench.states() == {"a.png": "kept", "copy.png": "duplicate", "second.png": "duplicate"}
    assert [root.tripped for root in bench.store.roots.all()] == ["input/output error"]


def test_too_many_moves_switch_moving_off(bench: Bench) -> None:
    bench.quarantine()
    root = bench.roots.require(bench.root.id)
    bench.roots.put(bench.root.id, replace(root, breaker=CircuitBreaker(max_per_minute=1)))
    bench.put("a.png", data(1))
    for name in ("first.png", "second.png", "third.png"):
        bench.put(name, data(1))
        bench.settle()
    assert bench.states() == {"a.png": "kept", "third.png": "duplicate"}
    (root,) = bench.store.roots.all()
    assert root.tripped == "2 files were moved within a minute (max_moves_per_minute)"


# What is a copy


@pytest.mark.parametrize("noticed", [False, True], ids=["before its next try", "after it"])
def test_a_copy_that_is_renamed_while_it_is_judged_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    if not noticed:
        monkeypatch.setattr(in_flight, "RETRY_S", 1.0)
    bench.quarantine()
    bench.put("original.png", data(1))
    bench.settle()
    before, after = bench.share / "before.png", bench.share / "after.png"
    move = moving.move

    def rename_first(*arguments: Any) -> Any:
        if before.exists():
            before.rename(after)
        return move(*arguments)

    monkeypatch.setattr(moving, "move", rename_first)
    bench.put("before.png", data(1))
    bench.until(after.exists)
    if noticed:
        bench.settle()
    bench.put("after.png")
    bench.settle()
    assert bench.states() == {"original.png": "kept"}
    moved = [record for record in Quarantine(bench.share).records() if record.state == "quarantined"]
    assert [record.path for record in moved] == [b"after.png"]


@pytest.mark.parametrize("copy", ["exact", "near"])
def test_a_copy_that_comes_while_its_original_is_renamed_is_found(bench: Bench, copy: str) -> None:
    bench.put("before.png", data(1))
    bench.settle()
    (bench.share / "before.png").rename(bench.share / "after.png")
    bench.put("copy.png", data(1, 320 if copy == "exact" else 240))
    bench.put("stranger.png", data(2))
    bench.settle()
    bench.put("after.png")
    bench.settle()
    assert bench.states() == {"after.png": "kept", "copy.png": "duplicate", "stranger.png": "kept"}


def before_the_search_for(path: bytes, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Act once, just before the original of a file is looked for; return a list that holds its path from then on."""
    find = OriginalFinder.find
    acted: list[bytes] = []

    def act_first(self: OriginalFinder, query: Query) -> Any:
        if query.file.path == path and not acted:
            acted.append(path)
            act()
        return find(self, query)

    monkeypatch.setattr(OriginalFinder, "find", act_first)
    return acted


def test_a_file_that_is_rewritten_while_it_is_judged_is_judged_as_what_it_is_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("original.png", data(1))
    bench.settle()
    rewritten = before_the_search_for(b"late.png", lambda: bench.rewrite("late.png", data(1)), monkeypatch)
    bench.put("late.png", data(25))
    bench.settle()
    assert rewritten == [b"late.png"]
    assert bench.states() == {"original.png": "kept", "late.png": "duplicate"}


def test_a_file_that_is_replaced_between_its_decoding_and_its_turn_is_judged_as_what_it_is_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("original.png", data(1))
    bench.settle()
    monkeypatch.setattr(
        Resequencer, "until_pop_s", lambda ready, _now_s: 0.0 if ready._next in ready._waiting else None
    )
    bench.decoders.held[b"slow.png"] = slow = threading.Event()
    bench.put("slow.png", data(25))
    bench.put("replaced.png", data(1))
    bench.until(lambda: bench.decoders.inspected[-1:] == [b"replaced.png"])
    bench.rewrite("replaced.png", data(7))
    slow.set()
    bench.settle()
    assert bench.states() == {"original.png": "kept", "slow.png": "kept", "replaced.png": "kept"}
    assert bench.store.verdicts.all() == []
    content = bench.store.contents.get(bench.file("replaced.png").content_id or 0)
    assert content is not None
    assert content.sha256 == hashlib.sha256(data(7)).hexdigest()


def test_a_copy_of_which_a_hard_link_was_known_is_judged_under_its_new_name(bench: Bench) -> None:
    bench.put("original.png", data(1))
    bench.settle()
    bench.put("copy.png", data(1, 240))
    bench.settle()
    (bench.share / "link.png").hardlink_to(bench.share / "copy.png")
    bench.put("link.png")
    bench.settle()
    assert bench.states() == {"original.png": "kept", "copy.png": "duplicate", "link.png": "link"}
    (bench.share / "link.png").rename(bench.share / "again.png")
    bench.put("again.png")
    bench.settle()
    assert bench.states()["again.png"] == "link"
    (bench.share / "copy.png").unlink()
    bench.report_gone(bench.file("copy.png"))
    bench.until(lambda: "copy.png" not in bench.states())
    bench.settle()
    assert bench.states()["again.png"] == "duplicate"


def test_a_file_is_judged_again_though_a_hard_link_of_it_was_known_and_is_gone(bench: Bench) -> None:
    bench.put("a.png", data(1))
    bench.settle()
    (bench.share / "link.png").hardlink_to(bench.share / "a.png")
    bench.put("link.png")
    bench.settle()
    (bench.share / "link.png").unlink()
    bench.report_gone(bench.file("link.png"))
    bench.until(lambda: "link.png" not in bench.states())
    before = bench.file("a.png").judged_ns
    bench.store.queue.rejudge(bench.file("a.png").id)
    bench.store.commit()
    bench.settle()
    after = bench.file("a.png")
    assert after.state is FileState.KEPT
    assert after.judged_ns is not None
    assert after.judged_ns > (before or 0)


def test_a_copy_that_comes_while_its_original_is_to_be_judged_again_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("original.png", data(1))
    bench.settle()
    touched = before_the_search_for(b"copy.png", lambda: bench.rewrite("original.png", data(1)), monkeypatch)
    bench.put("copy.png", data(1))
    bench.settle()
    assert touched == [b"copy.png"]
    assert bench.states() == {"original.png": "kept", "copy.png": "duplicate"}


def test_a_file_that_is_judged_again_is_no_link_of_its_links(bench: Bench) -> None:
    bench.put("1.png", data(1))
    bench.settle()
    (bench.share / "2.png").hardlink_to(bench.share / "1.png")
    bench.put("2.png")
    bench.settle()
    bench.store.queue.rejudge(bench.file("1.png").id)
    bench.store.commit()
    bench.settle()
    assert bench.states() == {"1.png": "kept", "2.png": "link"}


@pytest.mark.parametrize("late", [False, True], ids=["forgotten at once", "forgotten late"])
def test_a_copy_is_found_though_the_first_name_of_its_original_is_gone(bench: Bench, late: bool) -> None:
    bench.put("1.png", data(1))
    bench.settle()
    for name in ("2.png", "3.png"):
        (bench.share / name).hardlink_to(bench.share / "1.png")
        bench.put(name)
    bench.settle()
    first = bench.file("1.png")
    (bench.share / "1.png").unlink()
    bench.put("copy.png", data(1))
    if late:
        bench.settle()
    bench.report_gone(first)
    bench.until(lambda: "1.png" not in bench.states())
    bench.settle()
    states = bench.states()
    assert states.pop("copy.png") == "duplicate"
    assert sorted(states.values()) == ["kept", "link"]


def test_what_is_no_longer_there_is_nobodys_original(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.put(f"{number}.png", data(number))
    bench.settle()
    (bench.share / "1.png").unlink()
    for number in (2, 3):
        (bench.share / f"{number}.png").write_bytes(data(number + 10))
    newcomers = {"of deleted.png": data(1), "of rewritten.png": data(2), "near rewritten.png": data(3, 240)}
    for name, bytes_ in newcomers.items():
        bench.put(name, bytes_)
    bench.settle()
    assert [bench.states()[name] for name in newcomers] == ["kept"] * 3


@pytest.mark.parametrize(
    ("kind", "options"), [("TIFF", {"compression": "tiff_lzw"}), ("GIF", {}), ("WEBP", {"lossless": True})]
)
def test_what_has_several_pages_is_a_copy_by_equal_bytes_only(bench: Bench, kind: str, options: Any) -> None:
    for number in (1, 2):
        pages = [paint(10 * number + page, 320, 240) for page in range(2)]
        bench.put(f"{number}", data(1, kind=kind, save_all=True, append_images=pages, **options))
    bench.put("cover", data(1))
    bench.settle()
    assert set(bench.states().values()) == {"kept"}
    shutil.copy(bench.share / "2", bench.share / "same")
    bench.put("same")
    bench.settle()
    assert bench.states()["same"] == "duplicate"


def test_what_was_dismissed_is_no_copy_when_it_comes_again(bench: Bench) -> None:
    bench.put("original.png", data(1))
    bench.put("small.png", data(1, 240))
    bench.settle()
    (case,) = bench.store.verdicts.all()
    bench.store.dismissals.add(case.sha256, case.original_sha256, "2026-01-01T00:00:00.000Z")
    (bench.share / "again.png").write_bytes(data(1, 240))
    (bench.share / "small.png").unlink()
    bench.put("again.png")
    bench.settle()
    assert bench.states()["again.png"] == "kept"


def test_a_dismissed_content_is_no_copy_of_a_copy_either(bench: Bench) -> None:
    bench.put("original.png", data(1))
    bench.put("small.png", data(1, 240))
    bench.settle()
    (case,) = bench.store.verdicts.all()
    bench.store.verdicts.set_state(case.id, VerdictState.RESTORED)
    small = bench.file("small.png")
    bench.store.files.confirm(small.id, small.identity, FileState.RESTORED)
    bench.store.dismissals.add(case.original_sha256, case.original_sha256, "2026-01-01T00:00:00.000Z")
    bench.put("again.png", data(1))
    bench.settle()
    assert bench.states()["again.png"] == "kept"


def test_what_came_after_the_clusters_were_made_anew_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [True]
    monkeypatch.setattr(ExactIndex, "needs_recluster", lambda index: bool(len(index) == 12 and asked and asked.pop()))
    for number in range(12):
        bench.put(f"{number}.png", data(number))
    bench.settle()
    bench.until(lambda: not asked and not bench.pipeline._reclustering.is_running())
    bench.put("new.png", data(99))
    bench.settle()
    bench.put("copy.png", data(99, 240))
    bench.settle()
    assert bench.states()["copy.png"] == "duplicate"
