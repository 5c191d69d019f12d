"""`scan`, which needs no configuration: its reports, its refusals, and Ctrl-C."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from daemon_site import COMMAND, twinwatch, wait_for


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


def test_scan_names_the_original_among_dozens_of_its_versions(tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    picture = paint(5)
    picture.save(album / "original.png")
    os.utime(album / "original.png", (1_600_000_000, 1_600_000_000))
    for number in range(30):
        version = album / f"version-{number:02}.jpg"
        # All versions are nearer to each other than to the original.
        ImageOps.expand(ImageOps.mirror(picture), 12, "white").save(version, quality=60 + number)
        os.utime(version, (1_600_000_100 + number, 1_600_000_100 + number))
    done = twinwatch("scan", str(album), "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    originals = [Path(json.loads(line)["duplicate_of"]).name for line in done.stdout.splitlines()]
    assert originals == ["original.png"] * 30


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
    header, first, second, *notes = done.stdout.splitlines()
    assert header.split() == ["what", "copy", "original", "distance", "evidence"]  # no id: no command would take it
    assert first.split() == ["same", "bytes", "same.jpg", "p0.jpg"]
    assert second.split()[:3] == ["flipped", "mirrored.jpg", "p1.jpg"]
    assert notes == [f"paths are below {album}/"]
    assert "7 files, 7 judged, 2 copies, 1 unreadable" in done.stderr
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]


def test_scan_of_one_picture_finds_no_copies_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    paint(0).save(tmp_path / "album" / "one.jpg")
    done = twinwatch("scan", str(tmp_path / "album"), "--out", str(tmp_path / "report.txt"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.txt").read_text() == "no copies\n"
    assert "1 file, 1 judged, 0 copies" in done.stderr


@pytest.mark.parametrize("after_s", [0.5, 2.0])
@pytest.mark.timeout(60)
def test_scan_that_is_interrupted_twice_ends_and_leaves_no_process(tmp_path: Path, after_s: float) -> None:
    for number in range(40):
        paint(number).save(tmp_path / f"{number}.jpg")
    scan = subprocess.Popen(
        [*COMMAND, "scan", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after_s)
    for _ in range(2):
        with contextlib.suppress(ProcessLookupError):  # it may be done by then
            os.killpg(scan.pid, signal.SIGINT)
        time.sleep(0.1)
    assert scan.wait(20) in (0, 130, -signal.SIGINT)
    wait_for(lambda: not living(scan.pid))


@pytest.mark.parametrize(("before", "code"), [("exec env --default-signal=INT ", 130), ("trap '' INT; exec ", 7)])
def test_an_interrupt_amid_an_import_ends_the_scan_unless_it_is_ignored(tmp_path: Path, before: str, code: int) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "import os, signal, time\n"
        # Another thread may take the signal; the pause lets it arrive while the import still goes on.
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.5)\n"
        "except KeyboardInterrupt:\n    raise ImportError('initialization failed')\n"
        "def __getattr__(name):\n    raise SystemExit(7)\n"
    )
    scan = subprocess.run(
        ["sh", "-c", f"{before}{shlex.join([*COMMAND, 'scan', str(tmp_path)])}"],
        check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (scan.returncode, scan.stderr) == (code, "")


def living(session: int) -> list[str]:
    """Return what /proc tells of the processes of a session; see proc(5)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_text())
    return [stat for stat in found if stat.rpartition(")")[2].split()[3] == str(session)]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("none/report.txt", "no such folder: {}/none"),
        ("album", "is a folder; name a file"),
        ("album/p0.jpg/x", "no such folder: {}/album/p0.jpg"),
    ],
)
def test_scan_refuses_a_report_that_cannot_be_written_before_it_looks(
    album: Path, tmp_path: Path, out: str, message: str
) -> None:
    done = twinwatch("scan", str(album), "--out", str(tmp_path / out))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"twinwatch: --out {tmp_path / out}: {message.format(tmp_path)}"]
