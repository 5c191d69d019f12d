"""A full disk beneath the state folder or the log: the daemon goes on, and catches up once there is room."""

from __future__ import annotations

import shutil

from paint import paint

from daemon_site import Site, fill_disk, mounted, wait_for
from faults.fixtures import reload


def test_a_full_state_disk_ends_no_daemon_and_keeps_no_file_back(site: Site) -> None:
    state = site.home / "state"
    state.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=8m", "none", str(state)):
        paint(0).save(site.share / "a.jpg")
        site.start()
        assert site.process is not None
        site.judged()
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
    site.judged()
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
    site.judged()
    shutil.copy(site.share / "a.jpg", site.share / "b.jpg")
    site.event_of(site.share / "b.jpg")
    site.configure(duplicates_log="/dev/full")
    assert site.run("restore", "--all").returncode == 0
    wait_for(lambda: site.entries("restored"))
    assert len(site.entries()) == 2
