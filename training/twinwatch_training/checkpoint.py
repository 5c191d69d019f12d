"""The checkpoint of a training run: what is on disk after every epoch, and the trained model read back from it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch_training.model import AutoEncoder
from twinwatch_training.presets import Preset

CHECKPOINT = "checkpoint.pt"
_NOT_TRAINED_WITH = ("int8", "clusters", "target_recall", "max_false_nomination_rate", "evidence_level")  # of a preset


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What distinguishes one training run from another; kept in the checkpoint and in the bundle."""

    data: str  # the folder of pictures
    fingerprint: str  # of these pictures
    preset: str
    seed: int
    epochs: int


@dataclass(frozen=True, slots=True)
class EpochLoss:
    """Mean losses of one epoch; `held_out` is the total loss on pictures that are not trained on."""

    total: float
    reconstruction: float
    held_out: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model after its last epoch, with the settings and losses of the run."""

    settings: RunSettings
    preset: Preset
    model: AutoEncoder
    history: tuple[EpochLoss, ...]
    trained_on: str  # the device of the last epoch and the version of torch


def save_checkpoint(
    work: Path, settings: RunSettings, model: AutoEncoder, optimizer: torch.optim.Optimizer, history: list[EpochLoss]
) -> None:
    """Replace the checkpoint in `work` atomically: a kill leaves the old one or the new one."""
    work.mkdir(parents=True, exist_ok=True)
    state = {
        "run": asdict(settings),
        "preset": asdict(model.preset),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(each) for each in history],
        "trained_on": _machine(next(model.parameters()).device),
    }
    fresh = work / f"{CHECKPOINT}.new"
    torch.save(state, fresh)
    fresh.replace(work / CHECKPOINT)


def restore_checkpoint(
    work: Path, settings: RunSettings, model: AutoEncoder, optimizer: torch.optim.Optimizer
) -> list[EpochLoss]:
    """Load the checkpoint in `work` into model and optimizer; return the losses of its epochs, none without one.

    Raises ConfigError if it belongs to another run.
    """
    state = _read(work)
    if state is None:
        return []
    theirs = asdict(RunSettings(**state["run"]))
    for field, ours in asdict(settings).items():
        # The folder may have moved; the fingerprint tells whether the pictures are the same.
        if theirs[field] != ours and field != "data":
            raise ConfigError(
                f"{work} holds another run: its {field} is {theirs[field]}, not {ours}; "
                f"give the same options to resume it, or another --work, or remove that folder"
            )
    _require_same(model.preset, state, work)
    model.load_state_dict(state["model"])
    # The settings of the optimizer are this run's own: a CPU and a GPU keep them in different types.
    optimizer.load_state_dict({**state["optimizer"], "param_groups": optimizer.state_dict()["param_groups"]})
    return [EpochLoss(**each) for each in state["history"]]


def load_trained(work: Path, preset_of: Callable[[str], Preset], device: torch.device) -> TrainedModel:
    """Return the finished run in `work`. Raises ConfigError if there is none, or if epochs are missing."""
    state = _read(work)
    if state is None:
        raise ConfigError(f"{work} holds no {CHECKPOINT}; run `twinwatch-train fit DATA --work {work}` first")
    settings = RunSettings(**state["run"])
    if len(state["history"]) < settings.epochs:
        raise ConfigError(
            f"{work} has done {len(state['history'])} of {settings.epochs} epochs; go on with `twinwatch-train fit`"
        )
    preset = preset_of(settings.preset)
    _require_same(preset, state, work)
    model = AutoEncoder(preset).to(device)
    model.load_state_dict(state["model"])
    history = tuple(EpochLoss(**each) for each in state["history"])
    return TrainedModel(settings, preset, model.eval(), history, state["trained_on"])


def _require_same(preset: Preset, state: dict[str, Any], work: Path) -> None:
    """Raises ConfigError if the checkpoint was made with other values of a preset of the same name.

    Values that only the later stages use may differ, as these stages can be repeated in a minute.
    """
    held = state.get("preset") or {}
    if any(held.get(name) != value for name, value in asdict(preset).items() if name not in _NOT_TRAINED_WITH):
        raise ConfigError(
            f"{work} was trained with other values of preset {preset.name!r}, by another version of twinwatch; "
            f"give another --work, or remove that folder"
        )


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}"


def _read(work: Path) -> dict[str, Any] | None:
    path = work / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # torch reports a damaged file as any of these, depending on where the damage is.
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise TwinwatchError(f"{path} cannot be read ({error}); remove it to start again") from None
    return state
