"""A daemon that cannot go on says why and ends; what it can live with, it lives through."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from paint import paint

from daemon_site import Site, wait_for


def test_a_catalogue_that_is_destroyed_ends_the_daemon_with_advice(site: Site) -> None:
    site.start()
    paint(1).save(site.share / "a.jpg")
    site.settled()
    for name in ("catalog.db", "catalog.db-wal"):
        path = site.home / "state" / name
        path.write_bytes(os.urandom(path.stat().st_size))
    paint(2).save(site.share / "b.jpg")
    assert site.process is not None
    assert site.process.wait(30) == 1
    assert "run `twinwatch rebuild`" in site.stderr.splitlines()[-1]
    assert "Traceback" not in site.stderr


def test_a_file_from_the_far_future_and_killed_decoders_cost_nothing(site: Site) -> None:
    site.start()
    assert site.process is not None
    decoders = Path(f"/proc/{site.process.pid}/task/")
    far = site.share / "far.jpg"
    paint(1).save(far)
    os.utime(far, ns=(1 << 63, 1 << 63))
    site.settled()
    for task in decoders.iterdir():
        for child in (task / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    shutil.copy(far, site.share / "copy.jpg")
    assert site.event_of(site.share / "copy.jpg")["duplicate_of"] == str(far)
    wait_for(lambda: site.settled() == {"kept": 1, "quarantined": 1, "waiting": 0})
    assert site.stop() < 10
