"""`twinwatch calibrate` as an admin uses it: on a folder of their own, without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from daemon_site import twinwatch
from twinwatch.search import bundle_path, load_bundle

Fill = Callable[[Path, int], Path]


def test_levels_are_chosen_and_kept_in_a_bundle_that_scan_takes(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "pictures", 24)
    shutil.copyfile(folder / "001.jpg", folder / "same.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    out = tmp_path / "bundle"
    done = twinwatch("calibrate", str(folder), "--bearable", "10", "--sample", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "rotate_180" in done.stdout and "mean of the first 18" in done.stdout
    assert "of 24 accused" in done.stdout
    assert "the sample is too small for this claim" in done.stdout
    assert "2 files left out" in done.stdout
    chosen, shipped = load_bundle(out), load_bundle(bundle_path("default"))
    assert chosen.id == shipped.id
    assert f"nomination radius {chosen.manifest.nomination_radius:.4f}" in done.stdout
    assert chosen.manifest.error_rate.library_pictures == 24
    scanned = twinwatch("scan", str(folder), "--bundle", str(out), "--format", "jsonl")
    assert scanned.returncode == 0 and '"kind": "exact"' in scanned.stdout


def test_a_real_copy_is_shown_as_the_pair_to_look_at(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "pictures", 24)
    with Image.open(folder / "001.jpg") as image:
        ImageOps.mirror(image).save(folder / "mirrored.jpg", quality=90)
    done = twinwatch("calibrate", str(folder), "--sample", "1")
    assert done.returncode == 0, done.stderr
    pair = next(line for line in done.stdout.splitlines() if "would be called copies" in line)
    assert "001.jpg" in pair and "mirrored.jpg" in pair
    assert "take one of the two away" in done.stdout


def test_no_bundle_is_written_that_would_accuse_more_than_is_bearable(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "pictures", 24)
    (folder / "again.jpg").write_bytes((folder / "001.jpg").read_bytes() + b"tail")
    done = twinwatch("calibrate", str(folder), "--sample", "1", "--out", str(tmp_path / "tuned"))
    assert done.returncode == 1
    assert "no evidence level keeps to what is bearable" in done.stdout
    assert "no bundle is written" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "tuned").exists()


def test_what_is_left_of_a_bundle_cut_short_is_written_over(tmp_path: Path, fill: Fill) -> None:
    folder, out = fill(tmp_path / "pictures", 24), tmp_path / "tuned"
    out.mkdir()
    (out / "encoder.onnx").write_bytes(b"the first of three")
    (out / "centroids.npy.new").write_bytes(b"half of the second")
    done = twinwatch("calibrate", str(folder), "--sample", "1", "--bearable", "1000", "--out", str(out))
    assert done.returncode == 0, done.stderr
    load_bundle(out)


def test_what_is_no_file_or_far_too_large_is_left_alone(tmp_path: Path, fill: Fill) -> None:
    folder = fill(tmp_path / "pictures", 24)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(40 << 30)
    done = twinwatch("calibrate", str(folder), "--sample", "1")
    assert done.returncode == 0, done.stderr
    assert "of 24 accused" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{empty}"], "0 usable pictures that differ; at least 20"),
        (["{missing}"], "is not a folder"),
        (["{empty}", "--bearable", "0"], "above 0"),
        (["{empty}", "--out", "{full}"], "exists and is not a bundle"),
        (["{empty}", "--out", "{missing}/deep/bundle"], "no such folder"),
        (["{empty}", "--bundle", "nowhere"], "no bundle at nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(words: list[str], message: str, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("empty", "missing", "full")}
    places["empty"].mkdir()
    places["full"].mkdir()
    (places["full"] / "letter.txt").write_text("mine")
    done = twinwatch("calibrate", *(word.format(**places) for word in words))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert (places["full"] / "letter.txt").read_text() == "mine"
