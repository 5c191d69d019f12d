"""The daemon on real folders: it finds copies, moves and restores them, and survives restarts and rebuilds."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from daemon_site import Site, wait_for
from twinwatch.store import open_store


def fill(folder: Path, count: int = 6) -> list[Path]:
    """Write different pictures into a folder."""
    paths = [folder / f"picture{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        paint(number).save(path, quality=90)
    return paths


def facts(path: Path) -> tuple[bytes, int, int, int, int]:
    """Return a file's bytes, owner, group, mode and modification time."""
    status = path.stat()
    return path.read_bytes(), status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns


def test_copies_are_quarantined_and_every_byte_comes_back(site: Site) -> None:
    pictures = fill(site.share)
    site.start()
    assert site.settled()["kept"] == 6
    exact, mirrored, smaller, stranger = (
        site.share / name for name in ("sub/exact copy.jpg", "mirrored.png", "smaller.webp", "stranger.jpg")
    )
    made = site.home / "made"  # each comes into the share as a whole, with its mode and its time
    made.mkdir()
    shutil.copy(pictures[0], made / exact.name)
    ImageOps.mirror(paint(1)).save(made / mirrored.name)
    paint(2).resize((240, 180)).save(made / smaller.name, quality=60)
    paint(99).save(made / stranger.name)
    (made / exact.name).chmod(0o640)
    os.utime(made / mirrored.name, ns=(10**18, 10**18 + 7))
    before = {path: facts(made / path.name) for path in (exact, mirrored, smaller)}
    exact.parent.mkdir()
    for path in (exact, mirrored, smaller, stranger):
        (made / path.name).rename(path)

    for copy, original, kind in ((exact, 0, "exact"), (mirrored, 1, "near"), (smaller, 2, "near")):
        entry = site.event_of(copy)
        assert entry["duplicate_of"] == str(pictures[original])
        assert entry["kind"] == kind
        assert entry["action"] == "quarantined"
        assert not copy.exists()
        assert Path(entry["quarantined_to"]).read_bytes() == before[copy][0]
    counts = site.settled()
    assert counts["quarantined"] == 3
    assert counts["kept"] == 7
    assert stranger.exists()

    listed = site.run("list", "--quarantined")
    assert listed.returncode == 0
    assert "exact copy.jpg" in listed.stdout
    restored = site.run("restore", "--all")
    assert restored.returncode == 0, restored.stderr
    assert {path: facts(path) for path in before} == before
    site.settled()
    assert len(site.entries("restored")) == 3
    assert all(path.exists() for path in before), "a restored file was moved again"
    assert len(site.entries("duplicate")) == 3


def test_what_stood_there_first_is_only_flagged(site: Site) -> None:
    (picture, *_) = fill(site.share, 2)
    copy = site.share / "a copy.jpg"
    shutil.copy(picture, copy)
    os.utime(picture, ns=(10**18, 10**18))
    time.sleep(0.1)
    site.start()
    entry = site.event_of(copy)
    assert entry["duplicate_of"] == str(picture)
    assert entry["action"] == "flagged"
    assert copy.exists()


def test_restart_takes_in_what_changed_and_decodes_nothing_twice(site: Site) -> None:
    pictures = fill(site.share)
    site.start()
    site.judged()
    assert site.stop() < 10
    shutil.copy(pictures[0], site.share / "while stopped.jpg")
    pictures[1].rename(site.share / "renamed.jpg")
    shutil.copy(site.share / "renamed.jpg", site.share / "copy of renamed.jpg")
    ImageOps.grayscale(paint(117)).save(pictures[2], quality=90)  # near none, so that no search misses what is moving
    pictures[3].unlink()
    (site.home / "daemon.log").unlink()

    site.start()
    first = site.event_of(site.share / "while stopped.jpg")
    assert first["duplicate_of"] == str(pictures[0])
    second = site.event_of(site.share / "copy of renamed.jpg")
    assert second["duplicate_of"] == str(site.share / "renamed.jpg")
    counts = site.settled()
    assert counts == {"kept": 5, "quarantined": 2, "gone": 1, "waiting": 0}
    assert len(site.entries()) == 2
    judged_new = [line for line in site.stderr.splitlines() if "kept" in line and "path=" in line]
    assert len(judged_new) == 1, judged_new  # only the changed picture is new


def test_deleted_original_is_no_original_and_modified_file_is_judged_anew(site: Site) -> None:
    pictures = fill(site.share, 3)
    site.start()
    site.judged()
    pictures[0].unlink()
    late = site.share / "late.jpg"
    ImageOps.flip(paint(0)).save(late)
    site.settled()
    assert late.exists()
    assert site.entries() == []
    shutil.copyfile(pictures[1], late)  # rewritten in place with another picture's bytes
    entry = site.event_of(late)
    assert entry["duplicate_of"] == str(pictures[1])


def test_dismissed_pair_stays_dismissed_after_restart(site: Site) -> None:
    pictures = fill(site.share, 2)
    site.start()
    site.judged()
    copy = site.share / "copy.jpg"
    shutil.copy(pictures[0], copy)
    entry = site.event_of(copy)
    dismissed = site.run("dismiss", entry["id"][:12])
    assert dismissed.returncode == 0, dismissed.stderr
    assert "files of these very bytes are no longer taken for copies" in dismissed.stdout
    assert copy.exists()
    again = site.run("dismiss", entry["id"][:12])
    assert (again.returncode, again.stdout) == (0, f"was dismissed already: {copy}\n")
    (line,) = site.entries("dismissed")
    (listed,) = csv.DictReader(io.StringIO(site.run("list", "--all", "--format", "csv").stdout))
    assert listed["time"] == line["time"]
    site.settled()
    site.stop()
    os.utime(copy)
    copy.rename(site.share / "other name.jpg")
    shutil.copy(pictures[0], site.share / "third.jpg")
    site.start()
    site.settled()
    assert len(site.entries("duplicate")) == 1
    assert (site.share / "third.jpg").exists()


def test_links_blank_and_broken_files_are_left_in_place(site: Site) -> None:
    from PIL import Image

    pictures = fill(site.share, 2)
    site.start()
    site.judged()
    os.link(pictures[0], site.share / "hard link.jpg")
    (site.share / "symbolic.jpg").symlink_to(pictures[0])
    Image.new("RGB", (300, 200), (250, 250, 250)).save(site.share / "blank1.png")
    Image.new("RGB", (200, 200), (251, 250, 250)).save(site.share / "blank2.png")
    (site.share / "empty.jpg").touch()
    (site.share / "truncated.jpg").write_bytes(pictures[0].read_bytes()[:-2000])
    (site.share / "text.jpg").write_text("no picture")
    os.mkfifo(site.share / "fifo.jpg")
    odd = os.fsencode(site.share) + b"/odd \xff\n\x1b[31m.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123  pathlib takes no bytes
        file.write(pictures[1].read_bytes())
    entry = wait_for(lambda: next(iter(site.entries("duplicate")), None))
    assert "path_b64" in entry
    assert "\n" not in entry["path"]
    assert "\x1b" not in entry["path"]
    counts = site.settled()
    assert counts["unreadable"] == 3
    assert counts["link"] == 1
    assert len(site.entries()) == 1
    for name in ("hard link.jpg", "symbolic.jpg", "blank1.png", "blank2.png", "empty.jpg", "truncated.jpg", "fifo.jpg"):
        assert os.path.lexists(site.share / name), name
    restored = site.run("restore", entry["id"])
    assert restored.returncode == 0, restored.stderr
    assert os.path.lexists(odd)


def test_a_watched_folder_that_is_missing_at_the_start_is_away(site: Site) -> None:
    other = site.home / "other"
    other.mkdir()
    site.configure(watch=[{"path": str(site.share), "action": "quarantine"}, {"path": str(other)}])
    pictures = fill(site.share, 3)
    site.start()
    site.judged()
    shutil.copy(pictures[0], site.share / "copy.jpg")
    entry = site.event_of(site.share / "copy.jpg")
    site.judged()
    site.stop()

    away = site.home / "away"
    site.share.rename(away)
    assert entry["id"][:10] in site.run("list").stdout
    assert site.run("status").returncode == site.run("resume").returncode == 0
    for which in ([entry["id"]], ["--all"]):
        refused = site.run("restore", *which)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"not restored: {site.share}/copy.jpg: {site.share} is away; bring it back, then restore the file\n"
        )
    assert site.run("dismiss", entry["id"]).returncode == 1
    assert entry["id"] in site.run("list", "--format", "jsonl").stdout, "it would lie in quarantine for ever"

    store = open_store(site.home / "state" / "catalog.db")
    device, _ = store.roots.all(site.share)[0].folder
    store.roots.set_device(store.roots.all(site.share)[0].id, device + 1)  # as a share's may change from mount to mount
    store.commit()
    store.close()
    site.start()
    assert "folder is away" in site.stderr
    paint(40).save(other / "new.jpg")
    wait_for(lambda: site.settled() == {"kept": 4, "quarantined": 1, "waiting": 0})
    assert "quarantine, away" in wait_for(lambda: site.run("status").stdout)
    away.rename(site.share)
    wait_for(lambda: "folder is back" in site.stderr)
    assert "gone" not in site.settled()
    dismissed = site.run("dismiss", entry["id"])
    assert dismissed.returncode == 0, dismissed.stderr
    assert (site.share / "copy.jpg").read_bytes() == pictures[0].read_bytes()


def test_reload_takes_a_folder_that_is_away_and_refuses_one_that_never_was(site: Site) -> None:
    fill(site.share, 1)
    site.start()
    site.judged()
    assert site.process is not None
    site.configure(watch=[{"path": str(site.share)}, {"path": str(site.home / "none")}])
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "watch[1].path: no such folder" in site.stderr)
    assert "reload refused, the old configuration stays" in site.stderr
    site.share.rename(site.home / "away")
    site.configure(settle_seconds=0.4)
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "starting anew under it" in site.stderr)
    wait_for(lambda: site.stderr.count(" ready ") == 2)


def test_reload_takes_a_good_configuration_and_refuses_a_bad_one(site: Site) -> None:
    pictures = fill(site.share, 2)
    site.start()
    site.judged()
    assert site.process is not None
    site.config.write_text(site.config.read_text() + "colour: blue\n")
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "is refused: colour: unknown key" in site.stderr)
    shutil.copy(pictures[0], site.share / "copy0.jpg")
    assert site.event_of(site.share / "copy0.jpg")["action"] == "quarantined"
    rotated = site.log_path.rename(site.log_path.with_suffix(".1"))
    site.configure(watch=[{"path": str(site.share), "action": "flag"}])
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded, the configuration has changed: starting anew under it changed=watch" in site.stderr)
    wait_for(lambda: site.stderr.count(" ready ") == 2)
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded, the configuration is as it was" in site.stderr)
    shutil.copy(pictures[1], site.share / "copy1.jpg")
    assert site.event_of(site.share / "copy1.jpg")["action"] == "flagged"
    assert len(rotated.read_text().splitlines()) == 1


def test_second_daemon_is_refused_and_starts_once_the_first_is_killed(site: Site) -> None:
    fill(site.share, 1)
    site.start()
    second = site.run("run")
    assert second.returncode == 3
    assert "holds" in second.stderr
    site.stop(signal.SIGKILL)
    site.start()
    assert site.stop() < 10


def test_rebuild_brings_back_what_quarantine_and_folders_tell(site: Site) -> None:
    pictures = fill(site.share, 3)
    site.start()
    site.judged()
    shutil.copy(pictures[0], site.share / "copy.jpg")
    entry = site.event_of(site.share / "copy.jpg")
    site.judged()
    site.stop()
    catalog = site.home / "state" / "catalog.db"
    catalog.write_bytes(b"\xff" * 20_000)
    refused = site.run("run")
    assert refused.returncode == 1
    assert "rebuild" in refused.stderr
    rebuilt = site.run("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "1 file in quarantine" in rebuilt.stdout
    assert "the old catalogue is kept as" in rebuilt.stdout
    assert "what was restored or dismissed is no longer listed" in rebuilt.stdout
    assert "1 in quarantine" in site.run("status").stdout
    restored = site.run("restore", entry["id"])
    assert restored.returncode == 0, restored.stderr
    site.start()
    assert site.settled() == {"kept": 4, "waiting": 0}
    assert (site.share / "copy.jpg").exists()
    assert len(site.entries("duplicate")) == 1, "a restored file was accused again"


def test_rebuild_keeps_no_catalogue_that_was_never_used(site: Site) -> None:
    site.run("list")  # which makes an empty one
    assert "the old catalogue is kept" not in site.run("rebuild").stdout


def test_a_folder_that_is_away_at_a_rebuild_is_still_known(site: Site) -> None:
    fill(site.share, 2)
    site.start()
    site.judged()
    site.stop()
    site.share.rename(site.home / "away")
    rebuilt = site.run("rebuild")
    assert f"not taken in yet: {site.share}: No such file" in rebuilt.stderr
    site.start()
    (site.home / "away").rename(site.share)
    wait_for(lambda: site.judged().get("kept") == 2)


def test_a_restored_file_that_a_rebuild_forgets_is_flagged_for_a_true_reason(site: Site) -> None:
    pictures = fill(site.share, 1)
    site.start()
    site.judged()
    copy = site.share / "copy.jpg"
    shutil.copy(pictures[0], copy)
    entry = site.event_of(copy)
    site.judged()
    paint(9).save(copy)  # the name is taken meanwhile
    for words in ("restored", "was restored already"):
        restored = site.run("restore", entry["id"])
        assert restored.returncode == 0, restored.stderr
        assert restored.stdout.startswith(f"{words}: {site.share}/copy.restored-1.jpg\n")
    site.settled()
    (line,) = site.entries("restored")
    assert line["restored_to"] == str(site.share / "copy.restored-1.jpg")
    for _ in range(2):
        (listed,) = csv.DictReader(io.StringIO(site.run("list", "--all", "--format", "csv").stdout))
        assert (listed["time"], listed["restored_to"]) == (line["time"], line["restored_to"])
    site.stop()
    assert site.run("rebuild").returncode == 0
    site.start()
    site.settled()
    (flagged,) = [line for line in site.entries("duplicate") if line["action"] == "flagged"]
    assert {flagged["path"], flagged["duplicate_of"]} == {str(pictures[0]), str(site.share / "copy.restored-1.jpg")}
    assert "why='it stood here when the folder was first taken into the catalogue'" in site.stderr


def test_what_is_said_of_the_folders_is_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    safe = site.home / "safe"
    safe.mkdir()
    pictures = fill(site.share, 3)
    watch = [{"path": str(site.share)}, {"path": str(safe), "action": "quarantine", "protect": True}]
    site.configure(watch=watch, model={"bundle": str(site.bundle), "device": "auto"}, settle_seconds=2)
    before = os.umask(0o022)
    site.start()
    os.umask(before)
    scanned = wait_for(lambda: re.findall(r".* scanned .*\n", site.stderr))  # whole lines: they come in pieces
    assert "files=3" in scanned[0]
    assert "new_or_changed=3" in scanned[0]
    assert "still_settling=3" in scanned[0]
    assert not [line for line in site.stderr.splitlines() if "encoding on the CPU" in line and "[info " not in line]
    times = [datetime.fromisoformat(line.split()[0]) for line in site.stderr.splitlines()]
    assert all(abs((datetime.now(UTC) - time).total_seconds()) < 100 for time in times)
    wait_for(lambda: site.judged().get("kept") == 3)
    kept = {path.name: path.stat().st_mode & 0o777 for path in (site.home / "state").iterdir()}
    assert kept.keys() >= {"catalog.db", "status.json", "metrics.prom", "lock"}
    assert set(kept.values()) == {0o640}
    rows = {line.split()[0]: line for line in site.run("status").stdout.splitlines() if line.strip()}
    assert "3 pictures, 0 flagged copies" in rows["files"]
    assert "quarantine off: protected" in rows[str(safe)]
    site.stop()
    for picture in pictures:
        picture.unlink()
    site.start()
    site.judged()
    wait_for(lambda: "empty now; seen here before: 3 files" in site.run("status").stdout)


def test_restore_works_without_any_catalogue(site: Site) -> None:
    pictures = fill(site.share, 2)
    site.start()
    site.judged()
    shutil.copy(pictures[0], site.share / "copy.jpg")
    site.event_of(site.share / "copy.jpg")
    site.judged()
    site.stop()
    shutil.rmtree(site.home / "state")
    restored = site.run("restore", "--all")
    assert restored.returncode == 0, restored.stderr
    assert (site.share / "copy.jpg").read_bytes() == pictures[0].read_bytes()
