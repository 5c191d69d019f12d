"""The training loop, with a checkpoint after every epoch.

The random numbers of an epoch follow from the seed and the number of the epoch. So, on the CPU, a run that was
interrupted and resumed ends in the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch_training.checkpoint import (
    EpochLoss,
    RunSettings,
    TrainedModel,
    load_trained,
    restore_checkpoint,
    save_checkpoint,
)
from twinwatch_training.cuda_graph import GraphedStep
from twinwatch_training.data import Pictures, Progress, Split, spread
from twinwatch_training.losses import training_loss
from twinwatch_training.model import AutoEncoder, to_float
from twinwatch_training.presets import Preset

OnEpoch = Callable[[int, EpochLoss], None]
"""Called with the number of epochs done and the losses of the last one, after its checkpoint is on disk."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What is trained, on what, and where. `pictures` have `preset.source_side` pixels a side; `work` is the folder of
    the checkpoint."""

    settings: RunSettings
    preset: Preset
    pictures: Pictures
    split: Split
    work: Path
    device: torch.device


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`. Raises ConfigError when CUDA is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"no device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: this torch sees no CUDA device; use --device cpu, or auto to take what is there"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fit(run: TrainingRun, progress: Progress, on_epoch: OnEpoch) -> TrainedModel:
    """Train until `run.settings.epochs` are done, from the checkpoint in `run.work` on if there is one.

    Raises ConfigError when that checkpoint belongs to another run, TwinwatchError when the loss is not finite.
    """
    settings, preset, device = run.settings, run.preset, run.device
    torch.manual_seed(settings.seed)
    model = AutoEncoder(preset).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, preset, device)
    history = restore_checkpoint(run.work, settings, model, optimizer)

    pixels = _on_device(run.pictures.pixels, device)  # uint8 [N, D * S, D * S, 3]
    batch = min(preset.batch, len(run.split.train))  # B
    steps = len(run.split.train) // batch
    held_out = torch.from_numpy(spread(run.split.held_out, batch)).to(device)  # int64 [at most B]

    # A step works on tensors that stay in place, so that it can be recorded as a CUDA graph.
    rows = torch.zeros(batch, dtype=torch.int64, device=device)  # [B], the pictures of the step
    sums = torch.zeros(2, device=device)  # of the total and the reconstruction loss in this epoch
    generator = torch.Generator(device)

    def learn() -> None:
        batch_pixels = to_float(pixels[rows])  # [B, 3, D * S, D * S]
        total, reconstruction = training_loss(model, preset, batch_pixels, generator)
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums.add_(torch.stack([total.detach(), reconstruction.detach()]))

    step = GraphedStep(learn, generator, lambda: optimizer.zero_grad(set_to_none=True))

    for epoch in range(len(history), settings.epochs):
        started = time.monotonic()
        order = np.random.default_rng([settings.seed, epoch]).permutation(run.split.train)  # int64 [train]
        epoch_rows = torch.from_numpy(order).to(device)
        generator.manual_seed(_epoch_seed(settings.seed, epoch))
        sums.zero_()
        model.train()
        for done in range(steps):
            share = _learning_rate_share(preset, epoch * steps + done, settings.epochs * steps)
            _set_learning_rate(optimizer, preset.learning_rate * share)
            rows.copy_(epoch_rows[done * batch : (done + 1) * batch])
            step()
            progress(f"epoch {epoch + 1}/{settings.epochs}", done + 1, steps)
        total, reconstruction = (sums / steps).tolist()
        if not math.isfinite(total):
            raise TwinwatchError(
                f"the loss of epoch {epoch + 1} is {total}: the checkpoint before it is in {run.work}; "
                f"lower the preset's learning rate or start again with another --seed"
            )
        loss_held_out = _held_out_loss(model, pixels[held_out], settings.seed)
        history.append(EpochLoss(total, reconstruction, loss_held_out, time.monotonic() - started))
        save_checkpoint(run.work, settings, model, optimizer, history)
        on_epoch(epoch + 1, history[-1])

    # Read from disk, since a run that was complete already may have been trained on another machine.
    return load_trained(run.work, lambda _: preset, device)


def _held_out_loss(model: AutoEncoder, pixels: Tensor, seed: int) -> float:
    """Total loss for uint8 pixels [n, D * S, D * S, 3], with the same augmentations in every epoch."""
    model.eval()
    generator = torch.Generator(pixels.device).manual_seed(seed)
    with torch.inference_mode():
        return float(training_loss(model, model.preset, to_float(pixels), generator)[0].item())


def _optimizer(model: AutoEncoder, preset: Preset, device: torch.device) -> torch.optim.Optimizer:
    if device.type == "cpu":
        return torch.optim.AdamW(model.parameters(), preset.learning_rate, weight_decay=preset.weight_decay)
    rate = torch.tensor(preset.learning_rate, device=device)  # a tensor, as a replayed graph reads it anew
    return torch.optim.AdamW(model.parameters(), rate, weight_decay=preset.weight_decay, fused=True, capturable=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _learning_rate_share(preset: Preset, step: int, steps: int) -> float:
    """The share of the preset's learning rate at a step: linear warm-up, then the preset's decay."""
    warmup = round(preset.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if preset.decay == "exponential":
        return math.pow(preset.decay_to, done)
    return preset.decay_to + (1 - preset.decay_to) * 0.5 * (1 + math.cos(math.pi * done))


def _on_device(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy all pictures to the device, so that no step waits for a copy. Raises TwinwatchError if they do not fit."""
    try:
        return torch.from_numpy(pixels).to(device)
    except torch.OutOfMemoryError:
        raise TwinwatchError(
            f"{len(pixels)} pictures need {pixels.nbytes / 1e9:.1f} GB, more than the GPU has free; "
            f"take fewer, or --device cpu"
        ) from None


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
