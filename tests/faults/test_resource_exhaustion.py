"""The daemon runs out of descriptors, rights or disk space: it waits, tries again and drops no file."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paint import paint

from daemon_site import DAEMON, Site, fill_disk, mounted, wait_for
from fault_counts import PROVE, Counting, scaled

pytestmark = pytest.mark.timeout(1800 if PROVE else 180)


@pytest.fixture
def often(site: Site) -> Site:
    """A site with one picture, `original.jpg`, whose daemon will scan often. It is not started."""
    site.settings = {"rescan_minutes": 0.02}
    site.configure()
    paint(0).save(site.share / "original.jpg")
    return site


def drop(folder: Path, first: int, count: int) -> None:
    """Write `count` new pictures and as many copies of `original.jpg` into a folder."""
    for number in range(first, first + count):
        paint(number).save(folder / f"{number}.png")
        paint(0).save(folder / f"{number} copy.jpg")


def moved(site: Site) -> int:
    return sum(line["action"] == "quarantined" for line in site.entries("duplicate"))


def require_complete(site: Site, dropped: int, known: int = 1) -> None:
    """Wait until every new picture is kept, and every copy is in quarantine with one line in the log."""
    complete = {"kept": known + dropped, "quarantined": dropped, "waiting": 0}
    wait_for(lambda: moved(site) == dropped)
    wait_for(lambda: site.settled() == complete)
    assert len(site.entries()) == dropped
    assert len(list(site.share.rglob("*.png"))) + 1 == known + dropped
    assert len(list((site.share / ".twinwatch/quarantine/files").iterdir())) == dropped
    assert site.process is not None
    assert site.process.poll() is None
    assert "internal error" not in site.stderr


@contextmanager
def few_descriptors(site: Site, spare: int) -> Iterator[None]:
    """Limit the daemon within a block: it can open `spare` more descriptors and no further one."""
    assert site.process is not None
    pid = site.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_want_of_descriptors_drops_nothing(often: Site, counting: Counting) -> None:
    often.start()
    often.judged()
    dropped = 0
    with counting("no further file descriptor to be had for a while") as tally:
        for number in range(scaled(1, 20)):
            told = often.stderr.count("Too many open files")
            with few_descriptors(often, spare=number * 3 % 20):
                drop(often.share, dropped + 1, 3)
                dropped += 3
                # With some to spare it may well get by.
                wait_for(lambda: often.stderr.count("Too many open files") > told + 2 or moved(often) == dropped)  # noqa: B023
                tally.inject()
            require_complete(often, dropped)
    assert "Too many open files" in often.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes rights away")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_what_is_closed_to_the_daemon_is_judged_once_it_is_open(often: Site, counting: Counting) -> None:
    known = often.share / "known"
    known.mkdir()
    paint(1000).save(known / "known.png")
    often.command = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", *DAEMON)
    often.start()
    often.judged()
    dropped = 0
    with counting("a file or a folder closed to the daemon for a while") as tally:
        for number in range(scaled(1, 10)):
            opened, closed = (often.home / f"{name}-{number}" for name in ("opened", "closed"))
            for folder in (opened, closed):
                folder.mkdir()
                drop(folder, dropped + 1, 2)
                dropped += 2
            single = [next(opened.glob("*.png")), next(opened.glob("*.jpg"))]
            for path in (known, closed, *single):
                path.chmod(0)
                tally.inject()
            told = often.stderr.count("may not read it")
            opened, closed = (folder.rename(often.share / folder.name) for folder in (opened, closed))
            single = [opened / path.name for path in single]
            wait_for(lambda: often.stderr.count("may not read it") == told + len(single))  # noqa: B023
            for path in (closed, *single):
                path.chmod(0o755)
            # The known folder is closed yet: what is known in it is not believed to be deleted.
            require_complete(often, dropped, known=2)
            known.chmod(0o755)


def test_a_full_state_disk_drops_nothing(often: Site, counting: Counting) -> None:
    state = often.home / "state"
    state.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=8m", "none", str(state)):
        often.start()
        often.judged()
        dropped = 0
        with counting("the state disk full for a while") as tally:
            for _ in range(scaled(1, 15)):
                told = often.stderr.count("trying again")
                filler = fill_disk(state)
                drop(often.share, dropped + 1, 4)
                dropped += 4
                # What is free within the catalogue's own files may well do.
                wait_for(lambda: often.stderr.count("trying again") > told or moved(often) == dropped)  # noqa: B023
                tally.inject()
                filler.unlink()
                require_complete(often, dropped)
        assert "is full; make room there" in often.stderr
        often.stop()
