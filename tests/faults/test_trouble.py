"""The daemon and the commands when the machine is in trouble: full disks, and a reload that cannot be had."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from paint import paint

from daemon_site import Site, fill_disk, mounted, wait_for


def reload(site: Site, answer: str) -> str:
    """Have the daemon reload; return its line with this beginning."""
    assert site.process is not None
    told = len(site.stderr.splitlines())
    site.process.send_signal(signal.SIGHUP)
    (line,) = wait_for(lambda: [line for line in site.stderr.splitlines()[told:] if answer in line])
    return str(line)


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
    assert wait_for(lambda: site.settled().get("kept") == 1)
    assert site.process.poll() is None
    site.configure(settle_seconds=0.2)
    assert "settle_seconds" in reload(site, "reloaded")
    site.stop()


def test_a_full_state_disk_ends_no_daemon_and_keeps_no_file_back(site: Site) -> None:
    state = site.home / "state"
    state.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=8m", "none", str(state)):
        paint(0).save(site.share / "a.jpg")
        site.start()
        assert site.process is not None
        site.settled()
        shutil.copy(site.share / "a.jpg", site.share / "b.jpg")
        entry = site.event_of(site.share / "b.jpg")
        filler = fill_disk(state)
        wait_for(lambda: "the status cannot be written" in site.stderr)
        site.configure(settle_seconds=0.2)
        reload(site, "reloaded")
        restored = site.run("restore", "--all")
        assert restored.returncode == 0, restored.stderr
        assert restored.stdout.startswith(f"restored: {site.share}/b.jpg\n")
        assert (site.share / "b.jpg").exists()
        assert "Traceback" not in restored.stderr
        dismissed = site.run("dismiss", entry["id"])
        assert dismissed.returncode == 1
        assert dismissed.stderr.startswith(f"twinwatch: the disk of {state}, which holds the catalogue, is full")
        assert site.process.poll() is None
        filler.unlink()
        site.settled()
        assert site.run("dismiss", entry["id"]).returncode == 0
        site.stop()


def test_a_full_log_loses_no_line_and_does_not_keep_the_daemon_from_starting(site: Site) -> None:
    site.configure(duplicates_log="/dev/full")
    paint(0).save(site.share / "a.jpg")
    site.start()
    site.settled()
    shutil.copy(site.share / "a.jpg", site.share / "b.jpg")
    wait_for(lambda: "the duplicates log cannot be written" in site.stderr)
    restored = site.run("restore", "--all")
    assert restored.returncode == 0, restored.stderr
    assert "the daemon does it later" in restored.stderr
    site.stop()
    site.start()
    site.configure()
    reload(site, "reloaded")
    (line,) = wait_for(lambda: site.entries("restored"))
    assert line["path"] == str(site.share / "b.jpg")


def test_a_line_that_a_command_could_not_write_is_written_by_the_daemon_that_runs(site: Site) -> None:
    paint(0).save(site.share / "a.jpg")
    site.start()
    site.settled()
    shutil.copy(site.share / "a.jpg", site.share / "b.jpg")
    site.event_of(site.share / "b.jpg")
    site.configure(duplicates_log="/dev/full")
    assert site.run("restore", "--all").returncode == 0
    wait_for(lambda: site.entries("restored"))
    assert len(site.entries()) == 2


def test_what_lies_under_a_mount_is_named_and_not_counted_as_done(site: Site) -> None:
    paint(0).save(site.share / "a.jpg")
    site.start()
    site.settled()
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
