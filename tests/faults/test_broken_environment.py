"""The daemon and its commands where something around them is broken.

A configuration that cannot be had, a destroyed catalogue, killed decoders, a mount over the share, impossible times and
a user without an account: each costs nothing but itself, or ends the program with the reason and what to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from paint import paint

from daemon_site import Site, mounted, wait_for
from faults.fixtures import reload


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": {"device": "cuda"}}, "cuda is asked for"),
        ({"duplicates_log": "/proc/nowhere/x.jsonl"}, "duplicates_log: cannot write"),
        ({"duplicates_log": "/tmp"}, "duplicates_log: cannot write"),
    ],
)
def test_a_reload_that_cannot_be_had_leaves_everything_as_it_was(
    site: Site, changes: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    site.start()
    assert site.process is not None
    site.configure(**changes)
    assert why in reload(site, "reload refused")
    time.sleep(0.5)
    assert site.process.poll() is None
    paint(0).save(site.share / "a.jpg")
    assert wait_for(lambda: site.judged().get("kept") == 1)
    assert site.process.poll() is None
    site.configure(settle_seconds=0.2)
    assert "settle_seconds" in reload(site, "reloaded")
    site.stop()


def test_a_catalogue_that_is_destroyed_ends_the_daemon_with_advice(site: Site) -> None:
    site.start()
    paint(1).save(site.share / "a.jpg")
    site.judged()
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
    site.judged()
    for task in decoders.iterdir():
        for child in (task / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    shutil.copy(far, site.share / "copy.jpg")
    assert site.event_of(site.share / "copy.jpg")["duplicate_of"] == str(far)
    wait_for(lambda: site.judged() == {"kept": 1, "quarantined": 1, "waiting": 0})
    assert site.stop() < 10


def test_what_lies_under_a_mount_is_named_and_not_counted_as_done(site: Site) -> None:
    paint(0).save(site.share / "a.jpg")
    site.start()
    site.judged()
    shutil.copy(site.share / "a.jpg", site.share / "b.jpg")
    site.event_of(site.share / "b.jpg")
    site.stop()
    with mounted("-t", "tmpfs", "none", str(site.share)):
        restored = site.run("restore", "--all")
    assert restored.returncode == 1
    assert f"not restored: {site.share}/b.jpg: " in restored.stderr
    assert site.run("restore", "--all").returncode == 0


@pytest.mark.parametrize("time", ["0001-01-01", "9999-12-31T23:59:59-23:00"])
def test_a_time_at_the_edge_of_the_calendar_is_refused(site: Site, time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    done = site.run("restore", "--since", time)
    assert done.returncode == 2
    assert done.stderr == f"twinwatch: --since: no time that can be reckoned with: {time}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_state_folder_of_a_number_without_an_account_is_used(site: Site) -> None:
    site.home.chmod(0o755)
    for folder in reversed(site.home.parents):
        if not folder.stat().st_mode & 0o005:
            pytest.skip("another user cannot reach the temporary folder")
    (site.home / "state").mkdir()
    os.chown(site.home / "state", 54321, 54321)
    done = site.run("status")
    assert done.returncode == 0, done.stderr
    assert (site.home / "state" / "catalog.db").stat().st_uid == 54321
