"""The command line on real folders: what a user sees, and the bundle they get."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from twinwatch.calibration import ALL_EDITS
from twinwatch.search import load_bundle
from twinwatch_training.checkpoint import load_trained
from twinwatch_training.model import embedder
from twinwatch_training.presets import preset

Train = Callable[..., Any]
Fill = Callable[[Path, int], Path]
PICTURES = (
    "recall.png", "loss.png", "reconstructions.png", "distances.png", "thresholds.png", "misses.png", "strangers.png",
    "clusters.png",
)  # fmt: skip


def test_the_bundle_is_one_the_daemon_takes(finished: Any) -> None:
    bundle = load_bundle(finished.out)
    manifest = bundle.manifest
    assert bundle.centroids.shape == (20, 256)
    assert (manifest.preset, manifest.unit_norm, bundle.input_size) == ("seed", False, (32, 32))
    assert set(manifest.error_rate.edit_recall) == set(ALL_EDITS)
    assert (manifest.training["pictures"], manifest.training["held_out_pictures"]) == (70, 10)
    assert manifest.error_rate.library_pictures == 10
    assert manifest.training["epochs"] == 1
    assert sorted(path.name for path in finished.out.iterdir()) == ["bundle.json", "centroids.npy", "encoder.onnx"]


def test_the_onnx_file_keeps_its_contract_and_equals_torch(finished: Any) -> None:
    path = finished.out / "encoder.onnx"
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 17)]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("pixels", "tensor(uint8)", [32, 32, 3])
    assert (given.name, given.type, given.shape[1:]) == ("embedding", "tensor(float)", [256])
    model = load_trained(finished.out.with_name("bundle.work"), preset, torch.device("cpu")).model
    rng = np.random.default_rng(0)
    for count in (1, 2, 33):
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        found = session.run(None, {"pixels": pixels})[0]
        assert found.shape == (count, 256)
        assert np.abs(found - embedder(model, torch.device("cpu"))(pixels)).max() < 1e-4
    assert load_bundle(finished.out).manifest.training["onnx_parity_error"] < 1e-4


def test_what_was_left_out_is_named(finished: Any) -> None:
    assert f"left out {finished.data / 'broken.jpg'}" in finished.output
    assert f"left out {finished.data / 'same.jpg'}: same bytes as {finished.data / '001.jpg'}" in finished.output


def test_the_report_has_every_picture_and_the_page_shows_them(finished: Any) -> None:
    folder = finished.out.with_name("bundle.report")
    page = (folder / "index.html").read_text(encoding="utf-8")
    for name in PICTURES:
        assert f'src="{name}"' in page
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200
    assert "broken.jpg" in page
    # The name of a file that was left out is neither markup nor able to turn the text round.
    rest = r"\nforged \x1b[5m\u202e\udcff.jpg: not a picture in a known format"
    assert f"&lt;script&gt;{rest}" in page
    assert f"<script>{rest}" in finished.output
    assert all(name in page for name in ALL_EDITS)


def test_each_step_is_a_command_too(finished: Any, tmp_path: Path, train: Train) -> None:
    work, out = tmp_path / "work", tmp_path / "bundle"
    missing = train("cluster", "--work", work)
    assert missing.returncode == 2 and "run `twinwatch-train fit" in missing.stderr
    fit = train("fit", finished.data, "--work", work, "--preset", "seed", "--epochs", 1, "--device", "cpu")
    assert fit.returncode == 0, fit.stderr
    early = train("export", "--out", out, "--work", work)
    assert early.returncode == 2 and "run `twinwatch-train cluster" in early.stderr
    for step in ("cluster", "calibrate", "evaluate"):
        done = train(step, "--work", work)
        assert done.returncode == 0, done.stderr
    for step in ("export", "report"):
        done = train(step, "--out", out, "--work", work)
        assert done.returncode == 0, done.stderr
    # The same seed on the same pictures, step by step: the same bundle.
    assert load_bundle(out).id == load_bundle(finished.out).id
    assert (tmp_path / "bundle.report" / "index.html").exists()


def test_the_evidence_level_of_a_bundle_is_calibrated_too(tmp_path: Path, train: Train, fill: Fill) -> None:
    data, work, out = fill(tmp_path / "data", 420), tmp_path / "work", tmp_path / "bundle"
    early = train("calibrate", "--out", out, "--work", work, "--bearable", 10)
    assert early.returncode == 2
    for step in (["fit", data, "--preset", "seed", "--epochs", 1], ["cluster"], ["calibrate"], ["evaluate"]):
        assert train(*step, "--work", work).returncode == 0
    missing = train("calibrate", "--out", out, "--work", work, "--bearable", 10)
    assert missing.returncode == 2 and "a bundle that is there" in " ".join(missing.stderr.split())
    assert train("export", "--out", out, "--work", work).returncode == 0
    before = load_bundle(out)
    done = train("calibrate", "--out", out, "--work", work, "--bearable", 10, "--sample", 1)
    assert done.returncode == 0, done.stderr
    assert "of 21 accused" in done.stdout and "the sample is too small for this claim" in done.stdout
    after = load_bundle(out)
    assert after.id == before.id
    assert f"nomination radius {after.manifest.nomination_radius:.4f}, evidence level" in done.stdout


def test_a_bundle_is_evaluated_on_any_folder_against_others(
    finished: Any, tmp_path: Path, train: Train, fill: Fill
) -> None:
    other = fill(tmp_path / "other", 30)
    drawn, numbers_file = tmp_path / "board.png", tmp_path / "numbers.json"
    done = train(
        "evaluate", other, "--bundle", finished.out, "--fa", 0.1, "--evidence", 0, "--against", "phash, seed",
        "--json", numbers_file, "--picture", drawn,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rotate_180" in done.stdout and "balanced accuracy" in done.stdout
    numbers = json.loads(numbers_file.read_text())
    assert set(numbers["recall"]) == set(ALL_EDITS)
    assert list(numbers["standings"]) == ["twinwatch", "phash", "seed"]
    for each in numbers["standings"].values():
        assert each["evaluation"]["false_alarm_rate"] <= 0.1
        assert each["pairs"]["balanced_accuracy"] >= 0.5
    assert numbers["standings"]["phash"]["evaluation"]["recall"]["png"] == 1
    assert (numbers["library_pictures"], numbers["new_pictures"]) == (15, 15)
    for path in (drawn, tmp_path / "board-pair.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_with_evidence_the_edited_are_found_and_strangers_are_left_alone(
    finished: Any, tmp_path: Path, train: Train, fill: Fill
) -> None:
    other = fill(tmp_path / "other", 24)
    done = train("evaluate", other, "--bundle", finished.out, "--evidence", 2, "--json", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    assert "0 of 12 new pictures accused" in done.stdout
    judged = json.loads((tmp_path / "numbers.json").read_text())["with_evidence"]
    assert (judged["edited_pictures"], judged["library_pictures"], judged["new_pictures"]) == (2, 12, 12)
    assert judged["accused"] == [] and judged["misnamed"] == 0
    assert judged["recall"]["half"] == judged["recall"]["png"] == 1


def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    finished: Any, tmp_path: Path, train: Train
) -> None:
    done = train("evaluate", tmp_path, "--bundle", finished.out, "--json", tmp_path / "none" / "numbers.json")
    assert done.returncode == 2
    assert "there is no folder" in done.stderr and "Traceback" not in done.stderr


def test_too_few_pictures_are_refused_with_what_is_needed(tmp_path: Path, train: Train, fill: Fill) -> None:
    (tmp_path / "empty").mkdir()
    for folder, count in ((tmp_path / "empty", 0), (fill(tmp_path / "tiny", 5), 5)):
        done = train(folder, "--out", tmp_path / "bundle", "--preset", "seed")
        assert done.returncode == 2
        assert f"{folder} holds {count} usable pictures; at least 50" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{missing}", "--out", "{out}"], "is not a folder"),
        (["{data}", "--out", "{out}", "--preset", "best"], "choose one of seed, default"),
        (["{data}", "--out", "{out}", "--device", "tpu"], "choose auto, cpu or cuda"),
        (["{data}", "--out", "{data}"], "is not a bundle"),
        (["cluster"], "name the run"),
        (["evaluate", "--against", "phash", "--out", "{out}"], "need a folder of pictures"),
        (["evaluate", "{data}", "--against", "phash,magic"], "no method 'magic'; choose from phash, pdq, seed"),
        (["evaluate", "{data}", "--picture", "{missing}/board.png"], "there is no folder"),
        (["evaluate", "{data}", "--picture", "{out}.jpeg"], "must end in .png, .svg or .pdf"),
        (["evaluate", "{data}", "--bundle", "{missing}"], "bundle.json is missing"),
    ],
)
def test_wrong_words_end_with_2_and_a_reason(
    words: list[str], message: str, finished: Any, tmp_path: Path, train: Train
) -> None:
    places = {"data": finished.data, "out": tmp_path / "bundle", "missing": tmp_path / "missing"}
    done = train(*(word.format(**places) for word in words))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_what_another_version_trained_is_refused(finished: Any, tmp_path: Path, train: Train) -> None:
    work = tmp_path / "work"
    work.mkdir()
    state = torch.load(finished.out.with_name("bundle.work") / "checkpoint.pt", weights_only=True)
    state["preset"]["side"] += 8
    torch.save(state, work / "checkpoint.pt")
    run = state["run"]
    again = ("--preset", run["preset"], "--epochs", run["epochs"], "--seed", run["seed"], "--device", "cpu")
    for command in (("fit", finished.data, *again), ("cluster",)):
        done = train(*command, "--work", work)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "was trained with other values of preset" in " ".join(done.stderr.split())


def epochs_kept(checkpoint: Path) -> list[Any]:
    return list(torch.load(checkpoint, weights_only=True)["history"]) if checkpoint.exists() else []


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(finished: Any, tmp_path: Path) -> None:
    command = [
        "env", "--default-signal=INT",  # a shell's background jobs ignore it, and their children with them
        str(Path(sys.executable).with_name("twinwatch-train")), "fit", str(finished.data), "--out", str(tmp_path / "b"),
        "--preset", "seed", "--epochs", "100000", "--device", "cpu",
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "b.work" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    # An epoch's line is printed after its checkpoint, so that the second checkpoint proves the first line.
    while len(epochs_kept(checkpoint)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"give the same command again to go on from the last epoch kept in {tmp_path / 'b.work'}" in errors
    assert "Traceback" not in errors
    kept = len(epochs_kept(checkpoint))
    assert kept >= output.count("held out ") - 1 >= 0


def test_the_default_preset_learns_from_a_small_folder(finished: Any, tmp_path: Path, train: Train) -> None:
    done = train(finished.data, "--out", tmp_path / "bundle", "--epochs", 1, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.preset == "default" and bundle.manifest.unit_norm
    assert bundle.input_size == (96, 96)
    assert str(bundle.manifest.training["trained_on"]).startswith("CPU, torch ")
    session = onnxruntime.InferenceSession(str(bundle.encoder_path), providers=["CPUExecutionProvider"])
    embedding = session.run(None, {"pixels": np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)})[0]
    assert np.allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    graph = onnx.load(bundle.encoder_path)
    onnx.checker.check_model(graph)
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 17)]
    assert {each.data_type for each in graph.graph.initializer if len(each.dims) == 4} == {onnx.TensorProto.INT8}
    assert 0 < bundle.manifest.training["int8_error"] < 0.2


def test_a_command_without_what_training_needs_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['torch'] = None; from twinwatch_training.__main__ import main; main()"
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == ("twinwatch-train: torch is not installed; `make training` installs all that it needs\n")
