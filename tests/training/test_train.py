"""The training loop: resumed equals uninterrupted, and a run is never mixed with another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch_training.checkpoint import EpochLoss, RunSettings, TrainedModel, load_trained
from twinwatch_training.data import Pictures, load_pictures, split
from twinwatch_training.losses import koleo
from twinwatch_training.presets import DEFAULT, SEED, Preset, preset
from twinwatch_training.train import TrainingRun, choose_device, fit

EPOCHS = 3
Fill = Callable[[Path, int], Path]


def silent(task: str, done: int, total: int, /) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, fill: Fill) -> Path:
    return fill(tmp_path_factory.mktemp("train") / "data", 60)


def go(
    chosen: Preset,
    pictures: Pictures,
    work: Path,
    on_epoch: Callable[[int, EpochLoss], None],
    epochs: int = EPOCHS,
    device: str = "cpu",
) -> TrainedModel:
    settings = RunSettings("data", pictures.fingerprint, chosen.name, 7, epochs)
    run = TrainingRun(settings, chosen, pictures, split(len(pictures), 7), work, torch.device(device))
    return fit(run, silent, on_epoch)


@pytest.mark.parametrize("chosen", [SEED, DEFAULT], ids=lambda each: each.name)
def test_a_resumed_run_ends_in_the_same_weights(chosen: Preset, folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures(folder, chosen.source_side, silent)

    def stop_after_the_first(done: int, loss: EpochLoss) -> None:
        if done == 1:
            raise KeyboardInterrupt

    whole = go(chosen, pictures, tmp_path / "whole", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        go(chosen, pictures, tmp_path / "cut", stop_after_the_first)
    resumed = go(chosen, pictures, tmp_path / "cut", lambda *_: None)

    assert len(resumed.history) == EPOCHS
    assert [each.total for each in resumed.history] == [each.total for each in whole.history]
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    read = load_trained(tmp_path / "cut", preset, torch.device("cpu")).model.state_dict()
    assert all(torch.equal(read[name], theirs[name]) for name in theirs)


def test_reconstruction_gets_better(folder: Path, tmp_path: Path) -> None:
    quick = replace(SEED, batch=8, learning_rate=5e-3)
    losses = [each.total for each in go(quick, load_pictures(folder, 32, silent), tmp_path, lambda *_: None).history]
    assert losses == sorted(losses, reverse=True)


def test_a_work_folder_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    pictures = load_pictures(folder, 32, silent)
    go(SEED, pictures, tmp_path, lambda *_: None, epochs=1)
    with pytest.raises(ConfigError, match="its epochs is 1, not 2"):
        go(SEED, pictures, tmp_path, lambda *_: None, epochs=2)
    with pytest.raises(ConfigError, match="fingerprint"):
        go(SEED, replace(pictures, fingerprint="other"), tmp_path, lambda *_: None, epochs=1)


def test_an_unfinished_or_missing_run_is_not_exported(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, loss: EpochLoss) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ConfigError, match=r"holds no checkpoint\.pt"):
        load_trained(tmp_path, preset, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        go(SEED, load_pictures(folder, 32, silent), tmp_path, stop)
    with pytest.raises(ConfigError, match="1 of 3 epochs"):
        load_trained(tmp_path, preset, torch.device("cpu"))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(TwinwatchError, match=r"checkpoint\.pt"):
        load_trained(tmp_path, preset, torch.device("cpu"))


def test_a_loss_that_is_no_number_stops_the_run(folder: Path, tmp_path: Path) -> None:
    wild = replace(DEFAULT, learning_rate=float("inf"))
    with pytest.raises(TwinwatchError, match="loss of epoch"):
        go(wild, load_pictures(folder, DEFAULT.source_side, silent), tmp_path, lambda *_: None)


def test_koleo_looks_at_the_nearest_negative_alone() -> None:
    angles = torch.tensor([0.0, 1.0, 2.5, 0.1, 0.9, 2.5])  # three pictures, then the copy of each
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)  # [6, 2]
    apart = torch.tensor([0.9, 0.9, 1.5, 0.8, 0.8, 1.5])  # in radians, each to the nearest but its positive
    assert koleo(rows).item() == pytest.approx(-torch.log(2 * torch.sin(apart / 2)).mean().item(), abs=1e-5)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="choose auto, cpu or cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="no CUDA"):
            choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("chosen", [SEED, DEFAULT], ids=lambda each: each.name)
def test_a_gpu_learns_from_replayed_steps_as_from_others(
    chosen: Preset, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(chosen, batch=8, bfloat16=False)  # 7 steps an epoch
    pictures = load_pictures(folder, chosen.source_side, silent)
    replayed = go(quick, pictures, tmp_path / "replayed", lambda *_: None, device="cuda")
    monkeypatch.setattr("twinwatch_training.cuda_graph.WARM_UP_STEPS", 1000)
    stepped = go(quick, pictures, tmp_path / "stepped", lambda *_: None, device="cuda")
    for ours, theirs in zip(replayed.history, stepped.history, strict=True):
        assert ours.total == pytest.approx(theirs.total, rel=0.02)
        assert ours.held_out == pytest.approx(theirs.held_out, rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_goes_on_on_another_device(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, loss: EpochLoss) -> None:
        if done < EPOCHS:
            raise KeyboardInterrupt

    pictures = load_pictures(folder, SEED.side, silent)
    for device in ("cpu", "cuda"):
        with pytest.raises(KeyboardInterrupt):
            go(SEED, pictures, tmp_path, stop, device=device)
    trained = go(SEED, pictures, tmp_path, stop, device="cpu")
    losses = [each.total for each in trained.history]
    assert losses == sorted(losses, reverse=True)
