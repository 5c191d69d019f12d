"""Files that hang a decoder, crash it or exhaust its memory: the daemon judges all others and stays small."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from paint import paint

from daemon_site import Site, wait_for
from fault_counts import PROVE, Counting, scaled
from faults import hostile_files
from twinwatch.decoding.decode import FORMATS
from twinwatch.store import open_store

LIMITS = {"max_file_mb": 64, "max_megapixels": 50, "decode_memory_mb": 512, "workers": 2}
DECODE_S = 2
MOST_GROWTH_MB = 32
PATIENCE_S = 900 if PROVE else 100

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Site]:
    """A daemon under narrow limits that has judged one picture."""
    yield from started(Site(tmp_path_factory.mktemp("limited"), bundle, settings={"limits": LIMITS}))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Site]:
    """The same, with two seconds for each file."""
    limits = LIMITS | {"decode_seconds": DECODE_S}
    yield from started(Site(tmp_path_factory.mktemp("impatient"), bundle, settings={"limits": limits}))


def started(site: Site) -> Iterator[Site]:
    paint(0).save(site.share / "original.jpg")
    site.start()
    judged(site, "original.jpg")
    yield site
    site.end()


def judged(site: Site, *names: str) -> list[str]:
    """Wait until these files have been judged; return the state of each, or why it is unreadable."""
    store = open_store(site.home / "state" / "catalog.db")

    def outcomes() -> list[str] | None:
        (root,) = store.roots.all()
        refusals = {Path(os.fsdecode(each.path)).name: each.reason for each in store.files.unreadable()}
        states = {os.fsdecode(name): file.state for name, file in store.files.in_folder(root.id, b"").items()}
        store.rollback()
        found = [refusals.get(name, states.get(name, "new")) for name in names]
        return None if {"new", "unreadable"}.intersection(found) else found

    try:
        found: list[str] = wait_for(outcomes, PATIENCE_S)
    finally:
        store.close()
    return found


def quarantined(site: Site, paths: Iterable[Path]) -> bool:
    """Wait until all of these copies of the original are in quarantine."""
    wanted = {str(path) for path in paths}
    moved = {"action": "quarantined", "duplicate_of": str(site.share / "original.jpg")}

    def all_moved() -> bool:
        lines = [line for line in site.entries("duplicate") if line["path"] in wanted]
        return {line["path"] for line in lines if line.items() >= moved.items()} == wanted

    return bool(wait_for(all_moved, PATIENCE_S))


def scans(site: Site) -> int:
    """How often the whole share was scanned so far."""
    return site.stderr.count("] scanned ")


def decoders(site: Site) -> list[int]:
    """The processes that decode or seek evidence, and are up: they may write into no file any more."""
    assert site.process is not None
    found = []
    for task in Path(f"/proc/{site.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            limits = []
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                limits = Path(f"/proc/{child}/limits").read_text().splitlines()
            if any(line.startswith("Max file size") and line.split()[3] == "0" for line in limits):
                found.append(int(child))
    return found


def ticks(pid: int) -> int:
    """The processor time that a process has used, 0 where it has ended: proc_pid_stat(5), utime."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
    return 0


def busy_decoder(site: Site) -> int:
    """Wait for a decoder that has been at work since it was first seen, not just come up."""
    seen: dict[int, int] = {}

    def busy() -> int | None:
        for pid in decoders(site):
            if ticks(pid) > seen.setdefault(pid, ticks(pid)) + 20:
                return pid
        return None

    return int(wait_for(busy))


def lost_decoders(site: Site) -> int:
    metrics = site.home / "state" / "metrics.prom"
    wait_for(metrics.exists)
    (line,) = (line for line in metrics.read_text().splitlines() if line.startswith("twinwatch_workers_lost_total "))
    return int(float(line.split()[1]))


def resident_mb(site: Site) -> float:
    assert site.process is not None
    status = Path(f"/proc/{site.process.pid}/statm").read_text()
    return int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_bombs_and_what_is_no_picture_cost_nothing_but_themselves(limited: Site, counting: Counting) -> None:
    refused, taken = hostile_files.refused(), hostile_files.taken()
    rounds = scaled(2, 20)
    copies: list[Path] = []

    def flood(numbers: range) -> None:
        share = limited.share
        for number in numbers:
            for name, data in (refused | taken).items():
                # Each has bytes of its own, as known ones are not looked into.
                (share / f"{number}-{name}").write_bytes(data and data + b"%d" % number)
            (share / f"{number}-sparse.jpg").touch()
            os.truncate(share / f"{number}-sparse.jpg", (3 << 30) + number)
            paint(number + 1).save(share / f"{number}-good.png")
            copies.append(shutil.copy(share / "original.jpg", share / f"{number}-copy.jpg"))
        for number in numbers:
            outcomes = judged(limited, *(f"{number}-{name}" for name in [*refused, "sparse.jpg"]))
            assert not {"kept", "duplicate", "link"}.intersection(outcomes), outcomes
            assert not [why for why in outcomes if why.startswith("took") or "internal" in why]
            tally.inject(len(outcomes) + len(taken))
            assert judged(limited, f"{number}-swollen.tif") == ["needs more memory than limits.decode_memory_mb"]
            assert set(judged(limited, *(f"{number}-{name}" for name in [*taken, "good.png"]))) == {"kept"}
        assert quarantined(limited, copies)

    with counting("a bomb, or what is no picture, among pictures") as tally:
        flood(range(rounds))
        before_mb = resident_mb(limited)
        flood(range(rounds, 2 * rounds))
        assert resident_mb(limited) - before_mb < MOST_GROWTH_MB
        assert lost_decoders(limited) == 0


def test_a_truncated_copy_is_unreadable_and_never_moved(limited: Site, counting: Counting) -> None:
    wholes = {}
    for number, kind in enumerate(FORMATS):
        buffer = io.BytesIO()
        paint(number + 200, 200, 150).save(buffer, kind)
        wholes[kind] = buffer.getvalue()
        (limited.share / f"whole {kind}.jpg").write_bytes(wholes[kind])
    assert set(judged(limited, *(f"whole {kind}.jpg" for kind in wholes))) == {"kept"}
    before, most = len(limited.entries()), scaled(9, 100) - 1
    pieces = {}
    for kind, data in wholes.items():
        for number in range(most + 1):
            # The last bytes of a GIF and of a PNG hold nothing of the picture.
            pieces[f"{number} of {most} {kind}.jpg"] = data[: 1 + (len(data) - 14) * number // most]
    with counting("a known picture truncated") as tally:
        for name, data in pieces.items():
            (limited.share / name).write_bytes(data)
            tally.inject()
        assert not {"kept", "duplicate", "quarantined"}.intersection(judged(limited, *pieces))
        assert len(limited.entries()) == before
        assert all((limited.share / name).read_bytes() == data for name, data in pieces.items())


def test_a_file_that_hangs_its_decoder_is_given_up_until_it_changes(impatient: Site, counting: Counting) -> None:
    share, names = impatient.share, [f"slow{number}.jpg" for number in range(scaled(1, 8))]
    with counting("a picture that takes hours to decode") as tally:
        for number, name in enumerate(names):
            (share / name).write_bytes(hostile_files.slow() + b"%d" % number)
            paint(number + 1).save(share / f"good{number}.png")
        assert quarantined(impatient, [shutil.copy(share / "original.jpg", share / "copy.jpg")])
        outcomes = judged(impatient, *names, *(f"good{number}.png" for number in range(len(names))))
        tally.inject(len(names))
        why = f"took longer than {DECODE_S} s (limits.decode_seconds)"
        assert outcomes == [why] * len(names) + ["kept"] * len(names)
        wait_for(lambda: lost_decoders(impatient) == 2 * len(names))
        impatient.stop()
        before = scans(impatient)
        (impatient.home / "state" / "metrics.prom").unlink()
        impatient.start()
        wait_for(lambda: scans(impatient) > before)
        impatient.settled()
        assert lost_decoders(impatient) == 0
        for number, name in enumerate(names):
            paint(number + 100).save(share / name)
        wait_for(lambda: set(judged(impatient, *names)) == {"kept"})


def test_decoders_that_stand_still_lose_no_file(impatient: Site, counting: Counting) -> None:
    share = impatient.share
    copies: list[Path] = []
    with counting("SIGSTOP of every decoder") as tally:
        for number in range(1, 1 + scaled(1, 20)):
            before = lost_decoders(impatient)
            stopped = wait_for(lambda: decoders(impatient))
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
                tally.inject()
            paint(number + 400).save(share / f"{number}a.png")
            paint(number + 500).save(share / f"{number}b.png")
            copies.append(share / f"{number}-copy.jpg")
            paint(0).resize((240, 180)).save(copies[-1], quality=80)
            assert judged(impatient, f"{number}a.png", f"{number}b.png") == ["kept", "kept"]
            assert quarantined(impatient, copies)
            wait_for(lambda: lost_decoders(impatient) > before)  # noqa: B023  it is done with at once


def test_a_file_on_which_decoders_crash_is_given_up(limited: Site, counting: Counting) -> None:
    share, lost_before, crashes = (
        limited.share,
        lost_decoders(limited),
        (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE),
    )
    with counting("a native crash of a decoder at work") as tally:
        for number in range(scaled(1, 20)):
            name, crash = f"slow{number}.jpg", crashes[number % len(crashes)]
            (share / name).write_bytes(hostile_files.slow() + b"%d" % number)
            paint(number + 300).save(share / f"good{number}.png")
            assert judged(limited, f"good{number}.png") == ["kept"]
            for _ in range(2):  # it is tried once more in a fresh process
                os.kill(busy_decoder(limited), crash)
                tally.inject()
            assert judged(limited, name) == [f"crashed the decoder (exit code -{crash})"]
            wait_for(lambda: lost_decoders(limited) == lost_before + tally.injected)
