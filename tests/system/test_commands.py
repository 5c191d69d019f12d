"""What a user can get wrong, and what the commands then say; and `scan`, which needs no configuration."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from harness import COMMAND, Site, twinwatch


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(4):
        paint(number).save(folder / f"p{number}.jpg", quality=90)
        os.utime(folder / f"p{number}.jpg", (1_600_000_000, 1_600_000_000))
    shutil.copyfile(folder / "p0.jpg", folder / "same.jpg")
    ImageOps.mirror(paint(1)).save(folder / "mirrored.jpg", quality=70)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def test_scan_lists_copies_and_moves_nothing(album: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in album.iterdir())
    report = tmp_path / "report.jsonl"
    done = twinwatch("scan", str(album), "--format", "jsonl", "--out", str(report))
    assert done.returncode == 0, done.stderr
    found = {Path(entry["path"]).name: entry for entry in map(json.loads, report.read_text().splitlines())}
    assert set(found) == {"same.jpg", "mirrored.jpg"}
    assert found["same.jpg"]["duplicate_of"] == str(album / "p0.jpg")
    assert found["same.jpg"]["kind"] == "exact"
    assert found["mirrored.jpg"]["duplicate_of"] == str(album / "p1.jpg")
    assert found["mirrored.jpg"]["edit"] == "flipped"
    assert all(entry["action"] == "flagged" for entry in found.values())
    assert "broken.png" in done.stderr
    assert sorted(path.name for path in album.iterdir()) == before


def test_scan_with_state_judges_only_what_is_new_the_second_time(album: Path, tmp_path: Path) -> None:
    first = twinwatch("scan", str(album), "--format", "csv", "--state", str(tmp_path / "state"))
    assert first.returncode == 0, first.stderr
    assert "7 files, 7 judged" in first.stderr
    paint(70).save(album / "new.jpg")
    second = twinwatch("scan", str(album), "--format", "csv", "--state", str(tmp_path / "state"))
    assert "8 files, 1 judged" in second.stderr
    rows = [list(csv.DictReader(io.StringIO(done.stdout))) for done in (first, second)]
    assert [row["path"] for row in rows[0]] == [row["path"] for row in rows[1]]
    assert len(rows[0]) == 2


def test_scan_table_is_for_people(album: Path) -> None:
    done = twinwatch("scan", str(album))
    assert "same bytes" in done.stdout
    assert "flipped" in done.stdout
    assert "2 copies" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "/nowhere/at/all"], "no such folder"),
        (["scan", "/etc/hostname"], "not a folder"),
        (["scan", "/tmp", "/tmp"], "overlaps"),
        (["scan", "/tmp", "--bundle", "/nowhere"], "no bundle at /nowhere"),
        (["run", "-c", "/nowhere/config.yaml"], "config.example.yaml"),
        (["scan"], "Missing argument"),
        (["frobnicate"], "No such command"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_do(arguments: list[str], message: str) -> None:
    done = twinwatch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settle_second": 2}, "settle_second: unknown key"),
        ({"watch": [{"path": "/nowhere"}]}, "watch[0].path: no such folder"),
        ({"watch": [{"path": "/tmp", "action": "delete"}]}, "watch[0].action:"),
        ({"limits": {"max_file_mb": -1}}, "limits.max_file_mb:"),
        ({"model": {"bundle": "/nowhere"}}, "no bundle at /nowhere"),
        ({"state_dir": "/proc/nowhere"}, "state_dir: cannot make"),
        ({"duplicates_log": "/proc/nowhere/x.jsonl"}, "duplicates_log: cannot write"),
    ],
)
def test_config_errors_exit_2_and_name_their_place(site: Site, changes: dict[str, object], message: str) -> None:
    site.configure(**changes)
    done = site.run("run")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(site.bundle, damaged)
    with (damaged / "encoder.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    site.configure(model={"bundle": str(damaged), "device": "cpu"})
    done = site.run("run")
    assert done.returncode == 2
    assert "expected sha256" in done.stderr


def test_unreadable_folder_is_refused(site: Site) -> None:
    # Root reads every folder, but not without these two capabilities.
    plain = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    site.share.chmod(0)
    done = subprocess.run(
        [*plain, *COMMAND, "run", "-c", str(site.config)], capture_output=True, text=True, timeout=60, check=False
    )
    site.share.chmod(0o755)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_wrong_ids_are_refused(site: Site) -> None:
    for command in ("restore", "dismiss"):
        done = site.run(command, "abcdef")
        assert done.returncode == 2
        assert "twinwatch list" in done.stderr
    assert site.run("restore").returncode == 2
    assert site.run("restore", "--since", "yesterday").returncode == 2


def test_check_and_status_tell_what_is_so(site: Site) -> None:
    check = site.run("check")
    assert check.returncode == 0, check.stdout
    assert "copies are moved" in check.stdout
    status = site.run("status")
    assert status.returncode == 0
    assert "not running" in status.stdout
    assert site.run("resume").stdout.startswith("nothing was switched off")
