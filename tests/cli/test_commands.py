"""What a user can get wrong, and what the commands then say; and `scan`, which needs no configuration."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from daemon_site import COMMAND, Site, terminal, twinwatch, wait_for
from twinwatch.fs import FileIdentity
from twinwatch.store import Catalog, Verdict


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


@pytest.mark.parametrize(("before", "code"), [("", 130), ("trap '' INT; ", 7)])
def test_an_interrupt_amid_an_import_ends_the_scan_unless_it_is_ignored(tmp_path: Path, before: str, code: int) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise ImportError('initialization failed')\n"
        "def __getattr__(name):\n    raise SystemExit(7)\n"
    )
    scan = subprocess.run(
        ["sh", "-c", f"{before}exec {shlex.join([*COMMAND, 'scan', str(tmp_path)])}"],
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


def test_an_id_that_says_nothing_is_refused_as_such(site: Site) -> None:
    for command in ("restore", "dismiss"):
        done = site.run(command, "")
        assert done.returncode == 2
        assert "an id may not be empty" in done.stderr
        assert "abc: give at least 4 characters of an id" in site.run(command, "abc").stderr
    assert "nope: no copy with this id; see `twinwatch list --all`" in site.run("dismiss", "nope").stderr


def test_only_a_watched_folder_is_resumed(site: Site) -> None:
    done = site.run("resume", "/nonexistent")
    assert done.returncode == 2
    assert f"/nonexistent is not a watched folder; those are {site.share}" in done.stderr
    assert site.run("resume", f"{site.share}/").returncode == 0


def test_a_time_without_a_zone_is_local_and_the_time_that_was_used_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("COLUMNS", "200")
    done = site.run("restore", "--since", "2026-01-31T12:00")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 restored, 0 failed, of what was moved since 2026-01-31T06:30:00.000Z\n"
    assert "without a zone it is local" in " ".join(twinwatch("restore", "--help").stdout.split())


def test_check_counts_the_folders_of_the_user_only(site: Site) -> None:
    for _ in range(2):  # the first makes the quarantine's folders
        check = site.run("check")
        assert check.returncode == 0, check.stdout
        assert "1 folder on" in check.stdout
    (site.share / "sub").mkdir()
    assert "2 folders on" in site.run("check").stdout


def test_check_refuses_places_below_a_file(site: Site) -> None:
    file = site.home / "file"
    file.touch()
    site.configure(state_dir=str(file / "state"), duplicates_log=str(file / "duplicates.jsonl"))
    check = site.run("check")
    assert check.returncode == 1
    failed = [line.split(maxsplit=2) for line in check.stdout.splitlines() if line.startswith("failed")]
    assert [what for _, what, _ in failed] == ["state_dir", "duplicates_log"]
    assert all("is not a folder" in why for _, _, why in failed)


def test_check_goes_on_where_a_folder_is_missing(site: Site) -> None:
    site.configure(watch=[{"path": "/srv/nowhere/at/all"}, {"path": str(site.share)}])
    check = site.run("check")
    assert check.returncode == 1
    (line,) = [line for line in check.stdout.splitlines() if line.startswith("failed")]
    assert line.split(maxsplit=2)[1:] == [
        "/srv/nowhere/at/all",
        "no such folder: /srv/nowhere/at/all; create it, mount it or remove this entry",
    ]
    assert "1 folder on" in check.stdout
    assert "bundle" in check.stdout
    assert check.stderr == ""


def as_another_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who does not own /usr."""
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    command = [*other, *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="no setpriv here")
@pytest.mark.parametrize("command", ["list", "status", "check"])
def test_another_user_is_told_whose_state_it_is(site: Site, command: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        config = Path(folder, "config.yaml")
        site.configure(state_dir="/usr", duplicates_log="/root/log/duplicates.jsonl", watch=[{"path": folder}])
        shutil.copyfile(site.config, config)
        done = as_another_user(command, "-c", str(config))
    assert "/usr belongs to the user root, and " in done.stdout + done.stderr
    assert "use sudo, or do this as root" in done.stdout + done.stderr
    assert done.returncode == (1 if command == "check" else 2)
    assert "Errno" not in done.stdout + done.stderr


@pytest.fixture
def judged(site: Site) -> Site:
    """A site whose catalogue holds a verdict of each kind and a file that is no picture, as a daemon leaves them."""
    (site.home / "state").mkdir()
    catalog = Catalog(site.home / "state" / "catalog.db")
    root = catalog.add_root(site.share, (1, 2), 3)
    seen = FileIdentity(1, 2, 3, 4, 5, 1)
    catalog.enqueue(root.id, b"holiday/broken.jpg", seen, standing=False, arrived_ns=1, queue="waiting")
    file = catalog.file_at(root.id, b"holiday/broken.jpg")
    assert file is not None
    catalog.set_file(file.id, state="unreadable", refusal="truncated", queue=None)
    for number, (action, state) in enumerate(
        [("flagged", "done"), ("quarantined", "done"), ("quarantined", "restored"), ("quarantined", "dismissed")]
    ):
        over = state in ("restored", "dismissed")
        case = Verdict(
            id=f"{number}" * 32, file_id=None, time=f"2026-01-0{number + 1}T00:00:00.000Z",
            root=os.fsencode(site.share), path=b"holiday/the sea %d.jpg" % number, sha256="aa",
            original_root=os.fsencode(site.share), original_path=b"sea.jpg", original_sha256="bb", kind="near",
            distance=0.25, cluster=3, evidence=0.9, edit="recompressed", action=action, better=number == 0,
            quarantined_to=b".twinwatch/quarantine/files/%d" % number if action == "quarantined" else None,
            restored_to=b"holiday/back %d.jpg" % number if over else None, state=state, logged=state,
            event_at="2026-02-03T04:05:06.000Z" if over else None,
        )  # fmt: skip
        catalog.cases.add(case)
    catalog.commit()
    catalog.close()
    return site


def test_restored_and_dismissed_rows_tell_that_event_and_not_the_one_before(judged: Site) -> None:
    listed = judged.run("list", "--all", "--format", "csv")
    assert listed.returncode == 0, listed.stderr
    _, moved, *over = csv.DictReader(io.StringIO(listed.stdout))
    assert (moved["time"], moved["action"]) == ("2026-01-02T00:00:00.000Z", "quarantined")
    assert moved["quarantined_to"] == f"{judged.share}/.twinwatch/quarantine/files/1"
    assert [row["event"] for row in over] == ["restored", "dismissed"]
    for number, row in enumerate(over, 2):
        assert row["time"] == "2026-02-03T04:05:06.000Z"
        assert row["restored_to"] == f"{judged.share}/holiday/back {number}.jpg"
        assert row["action"] == row["quarantined_to"] == ""
    lines = [json.loads(line) for line in judged.run("list", "--all", "--format", "jsonl").stdout.splitlines()]
    assert [line["time"] for line in lines] == [row["time"] for row in csv.DictReader(io.StringIO(listed.stdout))]
    assert [sorted({"action", "quarantined_to"} & set(line)) for line in lines[2:]] == [[], []]


def test_a_file_that_was_put_back_is_listed_where_it_is(judged: Site) -> None:
    rows = judged.run("list", "--all").stdout.splitlines()
    assert [any(f"back {number}.jpg" in row for row in rows) for number in (2, 3)] == [True, True]
    assert not any("the sea 2.jpg" in row for row in rows)


def test_nothing_is_dismissed_where_one_of_the_ids_is_wrong(judged: Site) -> None:
    done = judged.run("dismiss", "0" * 8, "nope")
    assert done.returncode == 2
    assert done.stdout == ""
    assert json.loads(judged.run("list", "--format", "jsonl").stdout.splitlines()[0])["id"] == "0" * 32


def test_what_was_flagged_only_cannot_be_restored_and_that_is_said(judged: Site) -> None:
    done = judged.run("restore", "0" * 8)
    assert done.returncode == 2
    assert "was flagged only and lies where it was" in done.stderr


def test_spreadsheets_get_the_words_of_json(judged: Site) -> None:
    rows = list(csv.DictReader(io.StringIO(judged.run("list", "--all", "--format", "csv").stdout)))
    assert [row["better"] for row in rows] == ["true", "false", "false", "false"]


def test_unreadable_files_are_listed_with_why(judged: Site) -> None:
    path = f"{judged.share}/holiday/broken.jpg"
    assert judged.run("list", "--unreadable").stdout.splitlines()[1].split() == [path, "truncated"]
    assert json.loads(judged.run("list", "--unreadable", "--format", "jsonl").stdout) == {
        "path": path,
        "reason": "truncated",
    }
    assert judged.run("list", "--unreadable", "--format", "csv").stdout.split() == ["path,reason", f"{path},truncated"]
    assert "list --unreadable" in judged.run("status").stdout
    assert judged.run("list", "--unreadable", "--all").returncode == 2


def test_an_empty_list_says_so(site: Site) -> None:
    assert site.run("list").stdout == "no copies\n"
    assert site.run("list", "--unreadable").stdout == "no unreadable files\n"
    assert site.run("list", "--format", "jsonl").stdout == ""


def test_a_list_for_another_program_has_no_blanks_at_its_line_ends(judged: Site) -> None:
    lines = judged.run("list", "--all").stdout.splitlines()
    assert len(lines) == 7
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("columns", [80, 160])
def test_no_word_is_broken_on_a_terminal(judged: Site, columns: int) -> None:
    shown = terminal(columns, "list", "--all", "-c", str(judged.config))
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert all(len(line) <= columns for line in lines)
    for words in ("recompressed (better)", "holiday/the sea 0.jpg", "sea.jpg", "quarantined", "dismissed"):
        assert any(words in line for line in lines), words
    assert lines[-1] == "better: the copy has more pixels than its original"


def test_check_and_status_tell_what_is_so(site: Site) -> None:
    check = site.run("check")
    assert check.returncode == 0, check.stdout
    assert "copies are moved" in check.stdout
    assert "none yet, the daemon makes it" in check.stdout
    assert not (site.home / "state").exists(), "a check leaves no state that another user could not write to"
    status = site.run("status")
    assert status.returncode == 0
    assert "not running" in status.stdout
    assert site.run("resume").stdout.startswith("nothing was switched off")
