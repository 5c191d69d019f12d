"""The daemon's state under attack: kills, flipped bits in catalogue, bundle and records, a second daemon, log rotation.

Each file stays at its path or lies in quarantine with a record, and of equal files one always stays.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon_site import Site, wait_for
from fault_counts import PROVE, Counting, scaled
from faults.fixtures import held, held_bytes, plain, running, tree, write
from twinwatch.errors import BundleError
from twinwatch.quarantine import Quarantine
from twinwatch.search import load_bundle

SETTLE_S = 0.1
LONG_S = 900.0 if PROVE else 60.0

pytestmark = pytest.mark.timeout(3600 if PROVE else 180)


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[Site]:
    made = Site(tmp_path, bundle, settings={"settle_seconds": SETTLE_S})
    yield made
    made.end()


class Users:
    """A thread that writes pictures and copies of them into a folder until `put_back` is called."""

    def __init__(self, folder: Path, first: int = 0) -> None:
        self.folder, self._first = folder, first
        self.written: dict[bytes, bytes] = {}
        self._home = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.put_back()

    def put_back(self) -> None:
        self._home.set()
        self._thread.join()

    def _work(self) -> None:
        random_ = random.Random(self._first)
        for number in itertools.count():
            if self._home.wait(0.03):
                return
            shown = number if number % 2 == 0 else random_.randrange(0, number, 2)
            path = self.folder / str(number % 7) / f"{number}.bmp"
            data = plain(self._first + shown)
            self.written[os.fsencode(path.relative_to(self.folder))] = data
            write(path, data)


def require_nothing_lost(root: Path, written: dict[bytes, bytes]) -> None:
    """Assert that each written file is at its path or in quarantine, and that of equal files one is at its path."""
    there, records = tree(root), held(root)
    moved = {record.path: held_bytes(root, record) for record in records}
    assert len(moved) == len(records), "a path was moved twice"
    assert not there.keys() & moved.keys()
    assert there | moved == written
    assert set(there.values()) == set(written.values()), "the last of equal files was moved"


def settle(site: Site, written: dict[bytes, bytes]) -> dict[str, int]:
    """Wait until all copies are in quarantine and logged. Returns the counts by state."""
    copies = len(written) - len(set(written.values()))
    wait_for(lambda: len(held(site.share)) == copies and len(site.entries("duplicate")) >= copies, LONG_S)
    return site.settled()


def test_killed_at_any_moment_it_loses_and_repeats_nothing(site: Site, counting: Counting) -> None:
    random_ = random.Random(5)
    with counting("SIGKILL of the daemon while files arrive all the time") as tally:
        site.start()
        with Users(site.share) as users:
            for _ in range(scaled(8, 200)):
                time.sleep(random_.uniform(0.1, 1.1))  # the moment of the kill
                assert site.process is not None
                assert site.process.poll() is None, site.stderr
                site.stop(signal.SIGKILL)
                tally.inject()
                site.start(ready=False)
        counts = settle(site, users.written)
        require_nothing_lost(site.share, users.written)
        moved = {record.id: str(site.share / os.fsdecode(record.path)) for record in held(site.share)}
        lines = site.entries()
        assert {line["id"]: line["path"] for line in lines} == moved
        assert len(lines) == len(moved), "a line was written twice"
        assert site.known() == dict.fromkeys(tree(site.share), "kept")
        assert counts == {"kept": len(site.known()), "quarantined": len(moved), "waiting": 0}


class Rot:
    """A share with pictures and, in quarantine, copies of them; its daemon is stopped, and bits of its state flip."""

    def __init__(self, site: Site, copies: int) -> None:
        self.site, self.random = site, random.Random(9)
        self.written = {b"%d.bmp" % number: plain(number) for number in range(copies)}
        for name, data in self.written.items():
            write(site.share / os.fsdecode(name), data)
        with running(site):
            wait_for(lambda: site.known() == dict.fromkeys(self.written, "kept"))
            for number in range(copies):
                self.written[b"copy %d.bmp" % number] = plain(number)
                write(site.share / f"copy {number}.bmp", plain(number))
            settle(site, self.written)
            site.stop()

    def flip(self, path: Path) -> int:
        """Flip one bit where something is written in a file; return which."""
        data = bytearray(path.read_bytes())
        place = self.random.choice([place for place, byte in enumerate(data) if byte])
        bit = self.random.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        return 8 * place + bit

    def flip_byte(self, path: Path, before: bytes) -> None:
        """Flip the last bit of what follows some text in a file."""
        data = bytearray(path.read_bytes())
        data[data.index(before) + len(before)] ^= 1
        path.write_bytes(data)

    def newcomers(self, number: int) -> dict[bytes, bytes]:
        """Lay a copy and a new picture into the share; return them."""
        fresh = {b"late copy.bmp": plain(0), b"late.bmp": plain(0x10000 + number)}
        for name, data in fresh.items():
            write(self.site.share / os.fsdecode(name), data)
        return fresh

    def reset(self) -> None:
        """Take the newcomers away again, from wherever they are."""
        private = self.site.share / ".twinwatch/quarantine"
        for record in held(self.site.share):
            if record.path.startswith(b"late"):
                (private / "files" / record.id).unlink()
                (private / "info" / f"{record.id}.json").unlink()
        for path in (*self.site.share.glob("late*"), self.site.log_path):
            path.unlink()


@pytest.fixture(scope="module")
def rot(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Rot:
    home = tmp_path_factory.mktemp("rot")
    shutil.copytree(bundle, home / "bundle")
    return Rot(Site(home, home / "bundle", settings={"settle_seconds": SETTLE_S}), 6)


def test_a_flipped_bit_in_the_bundle_is_refused(rot: Rot, counting: Counting) -> None:
    """Or the flip changes nothing that is read, such as a line end. No daemon starts with a damaged bundle."""
    folder = rot.site.bundle
    intact = load_bundle(folder)
    with counting("flipped bit in encoder.onnx, centroids.npy or bundle.json") as tally:
        for number in range(scaled(60, 3000)):
            path = folder / ("encoder.onnx", "centroids.npy", "bundle.json")[number % 3]
            data = path.read_bytes()
            flipped = rot.flip(path)
            try:
                loaded = load_bundle(folder)
            except BundleError as error:
                assert str(folder) in str(error)
            else:
                assert path.name == "bundle.json", flipped
                assert loaded.manifest == intact.manifest, flipped
            tally.inject()
            path.write_bytes(data)
        fresh = rot.newcomers(0)
        data = (folder / "encoder.onnx").read_bytes()
        rot.flip(folder / "encoder.onnx")
        refused = rot.site.run("run")
        (folder / "encoder.onnx").write_bytes(data)
        assert refused.returncode == 2
        assert "the bundle is damaged" in refused.stderr
        assert fresh.items() <= tree(rot.site.share).items()
        rot.reset()


def test_a_flipped_bit_in_the_catalogue_costs_no_file(rot: Rot, counting: Counting) -> None:
    """The daemon names the damage and ends, or does its work all the same; a rebuild brings the counts in order."""
    site = rot.site
    catalog = site.home / "state" / "catalog.db"
    intact = catalog.read_bytes()
    with counting("flipped bit in the catalogue") as tally:
        for number in range(scaled(2, 200)):
            flipped = rot.flip(catalog)
            fresh = rot.newcomers(number)
            (site.home / "daemon.log").write_bytes(b"")
            site.start(ready=False)
            ended = wait_for(lambda fresh=fresh: _ended(site) or _judged(site, fresh)) == "ended"
            if ended:
                assert "twinwatch rebuild" in site.stderr.splitlines()[-1], flipped
                assert fresh.items() <= tree(site.share).items(), flipped
            else:
                site.stop()
            assert "Traceback" not in site.stderr, (flipped, site.stderr)
            require_nothing_lost(site.share, rot.written | fresh)
            tally.inject()
            if ended or PROVE:
                rebuilt = site.run("rebuild")
                assert rebuilt.returncode == 0, (flipped, rebuilt.stderr)
                with running(site):
                    wait_for(lambda: site.known().keys() == tree(site.share).keys())
                    counts = site.settled()
                    site.stop()
                assert counts.pop("quarantined") == len(held(site.share)), flipped
                # After a rebuild, a copy that lay there before is only flagged.
                flagged = len(rot.written) // 2 + 1 - len(held(site.share))
                assert counts == {"kept": len(rot.written) // 2 + 1, "waiting": 0} | (
                    {"duplicate": 1} if flagged else {}
                )
            rot.reset()
            for path in catalog.parent.glob("catalog.db*"):
                path.unlink()
            catalog.write_bytes(intact)


def _ended(site: Site) -> str:
    assert site.process is not None
    return "" if site.process.poll() is None else "ended"


def _judged(site: Site, fresh: dict[bytes, bytes]) -> bool:
    """True once each newcomer is told of in the daemon's own log: what a damaged catalogue says is not asked."""
    told = [line for line in site.stderr.splitlines() if " duplicate " in line or " kept " in line]
    return all(any(os.fsdecode(name) in line for line in told) for name in fresh)


def test_a_flipped_bit_in_a_record_stops_moves_and_keeps_the_file(rot: Rot, counting: Counting) -> None:
    """The file whose record is damaged stays in quarantine; the others can be restored, also without a catalogue."""
    site, records = rot.site, {record.id: record for record in held(rot.site.share)}
    info = site.share / ".twinwatch/quarantine/info"
    with counting("flipped bit in a record of the quarantine") as tally:
        for record_id, record in records.items():
            path = info / f"{record_id}.json"
            intact = path.read_bytes()
            for _ in range(scaled(10, 200)):
                flipped = rot.flip(path)
                told = {settled.id for settled in Quarantine(site.share).recover() if settled.needs_person}
                read = {each.id: each for each in Quarantine(site.share).records()}
                if told:
                    assert told == {record_id}
                    assert record_id not in read
                else:
                    assert replace(read[record_id], changed_at=record.changed_at) == record, flipped
                assert held_bytes(site.share, record) == rot.written[record.path]
                path.write_bytes(intact)
                tally.inject()
        damaged = records.pop(min(records))
        rot.flip_byte(info / f"{damaged.id}.json", b'"path_b64": "')
        fresh = rot.newcomers(0)
        with running(site):
            assert site.event_of(site.share / "late copy.bmp")["action"] == "flagged"
            site.settled()
        assert fresh.items() <= tree(site.share).items()
        assert f"quarantine is off: quarantine holds {damaged.id}: unreadable" in " ".join(
            site.run("check").stdout.split()
        )
        shutil.rmtree(site.home / "state")
        restored = site.run("restore", "--all")
        assert restored.returncode == 0, restored.stderr
        back = {record.path: rot.written[record.path] for record in records.values()}
        assert back.items() <= tree(site.share).items()
        assert held_bytes(site.share, damaged) == rot.written[damaged.path]


def test_two_daemons_with_states_of_their_own_leave_one_of_each(
    tmp_path: Path, bundle: Path, counting: Counting
) -> None:
    """They judge the same files, each in its own order: what one holds for an original may be a copy to the other."""
    one = Site(tmp_path / "one", bundle, settings={"settle_seconds": SETTLE_S})
    watch = [{"path": str(one.share), "action": "quarantine"}]
    other = Site(tmp_path / "other", bundle, settings={"settle_seconds": SETTLE_S, "watch": watch})
    written = {}
    with running(one), running(other), counting("three equal files before two daemons") as tally:
        for number in range(scaled(8, 1500)):
            names = [f"{number}{letter}.bmp" for letter in "abc"]
            for name in names if number % 2 else reversed(names):
                written[name.encode()] = plain(number)
                write(one.share / name, plain(number))
            tally.inject()
        wait_for(lambda: len(held(one.share)) == 2 * tally.injected, LONG_S)
        wait_for(lambda: len(one.entries("duplicate") + other.entries("duplicate")) == 2 * tally.injected, LONG_S)
        wait_for(lambda: not {"waiting", "new"}.intersection([*one.known().values(), *other.known(one.share).values()]))
    require_nothing_lost(one.share, written)
    records = held(one.share)
    living, original_of = tree(one.share).keys(), {record.path: record.original_path for record in records}
    for record in records:
        path = record.original_path
        assert path in living or original_of[path] in living, "a copy's original, or the original of that, lives"
    lines = one.entries("duplicate") + other.entries("duplicate")
    assert sorted(line["id"] for line in lines) == sorted(record.id for record in records)


def _every_line(site: Site) -> list[str]:
    """The ids of all lines, over all files that the log was rotated to."""
    texts = [path.read_text(encoding="utf-8") for path in site.log_path.parent.iterdir()]
    return [json.loads(line)["id"] for text in texts for line in text.splitlines() if line]


class Rotation:
    """What an admin, or logrotate, does to the log or the configuration of a daemon at work."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._number = 0

    def reload(self, answer: str) -> None:
        assert self._site.process is not None
        before = self._site.stderr.count(answer)
        self._site.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self._site.stderr.count(answer) > before)

    def _next(self) -> Path:
        self._number += 1
        return self._site.log_path.with_suffix(f".{self._number}")

    def rename(self) -> None:
        """Without a signal: the daemon goes on in the file that it has."""
        if not self._site.log_path.exists():
            self.reload(SAME)
        rotated = self._site.log_path.rename(self._next())
        size_bytes = rotated.stat().st_size
        wait_for(lambda: rotated.stat().st_size > size_bytes)

    def rename_and_tell(self) -> None:
        if self._site.log_path.exists():
            self._site.log_path.rename(self._next())
        self.reload(SAME)

    def copy_and_truncate(self) -> None:
        """While nothing is written: what comes between the two is lost, as in any log that is rotated so."""
        process = self._site.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        shutil.copyfile(self._site.log_path, self._next())
        os.truncate(self._site.log_path, 0)
        process.send_signal(signal.SIGCONT)

    def bad_reload(self) -> None:
        good = self._site.config.read_text()
        bad = ["watch: [", good + "colour: blue\n", good.replace(str(self._site.share), str(self._site.home / "none"))]
        self._site.config.write_text(bad[self._number % len(bad)])
        self._number += 1
        self.reload("reload refused")
        self._site.config.write_text(good)


SAME = "the configuration is as it was"
ACTS = {
    "rename": "log renamed in a burst, without a signal",
    "rename_and_tell": "log renamed in a burst, with SIGHUP",
    "bad_reload": "refused reload in a burst: broken YAML, unknown key, missing folder",
    "copy_and_truncate": "log copied and truncated in a burst, between two lines",
}


def test_what_is_done_to_log_and_configuration_in_a_burst_costs_no_line(site: Site, counting: Counting) -> None:
    """Every verdict is there once, over all files of the log, and a reload that is refused changes nothing."""
    with running(site), Users(site.share) as users:
        rotation = Rotation(site)
        for act, fault in ACTS.items():
            with counting(fault) as tally:
                for _ in range(scaled(3, 100)):
                    lines = len(_every_line(site))
                    wait_for(lambda lines=lines: len(_every_line(site)) > lines)
                    getattr(rotation, act)()
                    tally.inject()
        users.put_back()
        wait_for(lambda: len(held(site.share)) == len(users.written) - len(set(users.written.values())), LONG_S)
        counts = site.settled()
        require_nothing_lost(site.share, users.written)
        ids, lines = sorted(record.id for record in held(site.share)), sorted(_every_line(site))
        assert lines == ids
        assert counts["quarantined"] == len(ids)
        assert site.stderr.count(" ready ") == 1
