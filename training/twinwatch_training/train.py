"""The training loop, read once downward, with a checkpoint after every epoch.

Each epoch draws its chance from (seed, epoch), so a run that was interrupted and resumed ends, on the CPU, in the same
weights as one that was not.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from twinwatch.errors import ConfigError, TwinwatchError
from twinwatch_training.augment import make_views, orientations
from twinwatch_training.data import Pictures, Progress, Split, spread
from twinwatch_training.model import AutoEncoder, to_float
from twinwatch_training.presets import Preset

CHECKPOINT = "checkpoint.pt"
_NOT_FITTED = ("int8", "clusters", "copies_within", "strangers_within", "evidence_level")  # of a preset
_STEPS_BEFORE_RECORDING = 3  # in which libraries choose their kernels and take their memory


@dataclass(frozen=True, slots=True)
class Run:
    """What makes one training run different from another; kept in the work folder and in the bundle."""

    data: str
    fingerprint: str
    preset: str
    seed: int
    epochs: int


@dataclass(frozen=True, slots=True)
class EpochLoss:
    """Mean losses of one epoch; `held_out` is the total loss on pictures that are never learned from."""

    total: float
    reconstruction: float
    held_out: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model and how it got there."""

    run: Run
    model: AutoEncoder
    history: tuple[EpochLoss, ...]
    trained_on: str  # the device of the last epoch, and its version of torch


OnEpoch = Callable[[int, EpochLoss], None]
"""Told the number of epochs done and the losses of the last one, after its checkpoint is on disk."""


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`. Raises ConfigError when CUDA is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"no device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: this torch sees no CUDA device; use --device cpu, or auto to take what is there"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fit(
    *, run: Run, preset: Preset, pictures: Pictures, split: Split, work: Path, device: torch.device,
    progress: Progress, on_epoch: OnEpoch,
) -> Fitted:  # fmt: skip
    """Train for `run.epochs`, going on from the checkpoint in `work` if there is one. Pictures are of `source_side`.

    Raises ConfigError when that checkpoint belongs to another run, TwinwatchError when the loss is no longer a number.
    """
    torch.manual_seed(run.seed)
    model = AutoEncoder(preset).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, preset, device)
    batch = min(preset.batch, len(split.train))
    steps = len(split.train) // batch
    watched = spread(split.held_out, batch)
    history = _restore(work, run, preset, model, optimizer)
    step = _Step(model, preset, optimizer, _on_device(pictures.pixels, device), batch)

    for epoch in range(len(history), run.epochs):
        started = time.monotonic()
        order = np.random.default_rng([run.seed, epoch]).permutation(split.train)
        rows = torch.from_numpy(order).to(device)
        step.begin(_epoch_seed(run.seed, epoch))
        for done in range(steps):
            rate = preset.learning_rate * _rate_share(preset, epoch * steps + done, run.epochs * steps)
            step.take(rows[done * batch : (done + 1) * batch], rate)
            progress(f"epoch {epoch + 1}/{run.epochs}", done + 1, steps)
        mean = (step.sums / steps).tolist()
        if not math.isfinite(mean[0]):
            raise TwinwatchError(
                f"the loss of epoch {epoch + 1} is {mean[0]}: the checkpoint before it is in {work}; "
                f"lower the preset's learning rate or start again with another --seed"
            )
        held_out = _held_out_loss(model, preset, step.pixels[torch.from_numpy(watched).to(device)], run.seed)
        history.append(EpochLoss(mean[0], mean[1], held_out, time.monotonic() - started))
        _save(work, run, preset, model, optimizer, history)
        on_epoch(epoch + 1, history[-1])

    # Read back, as a run that was complete already may have been trained on another machine.
    return load_fitted(work, lambda _: preset, device)


class _Step:
    """One step of training after the other; `sums` are the total and reconstruction losses since `begin`.

    On a GPU the hundreds of small kernels of a step take longer to ask for than to run. There the first steps run one
    kernel at a time, the next is recorded as a CUDA graph, and all that follow are replays of it.
    """

    def __init__(
        self, model: AutoEncoder, preset: Preset, optimizer: torch.optim.Optimizer, pixels: Tensor, batch: int
    ) -> None:
        device = pixels.device
        self.pixels = pixels  # uint8 [N, D * S, D * S, 3]
        self.sums = torch.zeros(2, device=device)
        self._model = model
        self._preset = preset
        self._optimizer = optimizer
        self._rows = torch.zeros(batch, dtype=torch.int64, device=device)
        self._generator = torch.Generator(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._to_record = _STEPS_BEFORE_RECORDING if device.type == "cuda" else -1

    def begin(self, seed: int) -> None:
        """Start an epoch."""
        self._generator.manual_seed(seed)
        self.sums.zero_()
        self._model.train()

    def take(self, rows: Tensor, rate: float) -> None:
        """Learn from the pictures of `rows`, int64 [B], at a learning rate."""
        self._rows.copy_(rows)
        for group in self._optimizer.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if self._to_record == 0:
            self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()
        self._to_record -= 1

    def _record(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(self._generator)
        self._optimizer.zero_grad(set_to_none=True)  # so that the graph has gradients of its own
        with torch.cuda.graph(self._graph):
            self._run()

    def _run(self) -> None:
        pixels = to_float(self.pixels[self._rows])  # [B, 3, D * S, D * S]
        total, reconstruction = _loss(self._model, self._preset, pixels, self._generator)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.sums += torch.stack([total.detach(), reconstruction.detach()])


def load_fitted(work: Path, preset_of: Callable[[str], Preset], device: torch.device) -> Fitted:
    """Return the finished run in `work`. Raises ConfigError when there is none, or it has epochs to go."""
    state = _read(work)
    if state is None:
        raise ConfigError(f"{work} holds no {CHECKPOINT}; run `twinwatch-train fit DATA --work {work}` first")
    run = Run(**state["run"])
    if len(state["history"]) < run.epochs:
        raise ConfigError(
            f"{work} has done {len(state['history'])} of {run.epochs} epochs; go on with `twinwatch-train fit`"
        )
    chosen = preset_of(run.preset)
    _require_same(chosen, state, work)
    model = AutoEncoder(chosen).to(device)
    model.load_state_dict(state["model"])
    return Fitted(run, model.eval(), tuple(EpochLoss(**each) for each in state["history"]), state["trained_on"])


def _loss(model: AutoEncoder, preset: Preset, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(total, reconstruction) for pixels [B, 3, D * S, D * S], where D is the preset's detail."""
    if preset.views is None:
        restored = model.decode(model.encode(pixels))  # [B, 3, S, S]
        loss = functional.binary_cross_entropy(restored, pixels)
        return loss, loss
    with torch.no_grad():
        pair = [make_views(pixels, each, preset.detail, generator) for each in preset.views]
        views = torch.cat(pair).contiguous(memory_format=torch.channels_last)  # [2B, 3, S, S]
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=preset.bfloat16 and _has_bfloat16(pixels.device)):
        embeddings = model.encode(views)  # [2B, 256]
        restored = model.decode(embeddings[: len(pixels)])  # [B, 3, S, S]
    contrast = info_nce(embeddings.float(), preset.temperature)
    spread = nearness(embeddings.float())
    reconstruction = _up_to_orientation(restored.float(), functional.avg_pool2d(pixels, preset.detail))
    total = contrast + preset.spread_weight * spread + preset.reconstruction_weight * reconstruction
    return total, reconstruction


def info_nce(embeddings: Tensor, temperature: float) -> Tensor:
    """Tell each view's twin from all other views of the batch (Chen et al. 2020, SimCLR, eq. 1).

    Embeddings are [2B, D] of length 1; row i and row i + B show the same picture.
    """
    count = len(embeddings)
    similarity = embeddings @ embeddings.T / temperature  # [2B, 2B]
    similarity = similarity.masked_fill(torch.eye(count, dtype=torch.bool, device=embeddings.device), -math.inf)
    twin = torch.arange(count, device=embeddings.device).roll(count // 2)  # [2B]
    return functional.cross_entropy(similarity, twin)


def nearness(embeddings: Tensor) -> Tensor:
    """How near the nearest strangers are: minus the mean log of their distance (Sablayrolles et al. 2019, eq. 3).

    Spreads pictures out until one radius tells copies from strangers everywhere. Rows as for `info_nce`.
    """
    count = len(embeddings)
    with torch.no_grad():
        likeness = embeddings @ embeddings.T  # [2B, 2B]
        twin = torch.arange(count, device=embeddings.device).roll(count // 2)  # [2B]
        likeness.fill_diagonal_(-2.0).scatter_(1, twin[:, None], -2.0)
        nearest = likeness.argmax(dim=1)  # [2B]
    distance = (embeddings - embeddings[nearest]).norm(dim=1)  # [2B]
    return -torch.log(distance + 1e-6).mean()


def _up_to_orientation(restored: Tensor, pixels: Tensor) -> Tensor:
    """Squared error against the nearest of the eight orientations: the embedding has to forget which one it saw."""
    with torch.no_grad():
        # Which orientation is nearest shows at an eighth of the size, for a fraction of the memory.
        small = orientations(functional.avg_pool2d(pixels, 8))  # [B, 8, 3, S / 8, S / 8]
        errors = (functional.avg_pool2d(restored, 8)[:, None] - small).square().mean(dim=(2, 3, 4))  # [B, 8]
        rows = torch.arange(len(pixels), device=pixels.device)
        target = orientations(pixels)[rows, errors.argmin(dim=1)]  # [B, 3, S, S]
    return functional.mse_loss(restored, target)


def _held_out_loss(model: AutoEncoder, preset: Preset, pixels: Tensor, seed: int) -> float:
    """The same views every epoch, so that the curve shows learning and not luck. Pixels are uint8, like the run's."""
    model.eval()
    generator = torch.Generator(pixels.device).manual_seed(seed)
    with torch.inference_mode():
        return float(_loss(model, preset, to_float(pixels), generator)[0].item())


def _optimizer(model: AutoEncoder, preset: Preset, device: torch.device) -> torch.optim.Optimizer:
    if device.type == "cpu":
        return torch.optim.AdamW(model.parameters(), preset.learning_rate, weight_decay=preset.weight_decay)
    rate = torch.tensor(preset.learning_rate, device=device)  # read anew at each replay
    return torch.optim.AdamW(model.parameters(), rate, weight_decay=preset.weight_decay, fused=True, capturable=True)


def _on_device(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """All pictures, so that a step waits for no copy. Raises TwinwatchError if they do not fit."""
    try:
        return torch.from_numpy(pixels).to(device)
    except torch.OutOfMemoryError:
        raise TwinwatchError(
            f"{len(pixels)} pictures need {pixels.nbytes / 1e9:.1f} GB, more than the GPU has free; "
            f"take fewer, or --device cpu"
        ) from None


def _rate_share(preset: Preset, step: int, steps: int) -> float:
    warmup = round(preset.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if preset.decay == "exponential":
        return math.pow(preset.decay_to, done)
    return preset.decay_to + (1 - preset.decay_to) * 0.5 * (1 + math.cos(math.pi * done))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # On processors without these instructions bfloat16 is emulated and slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _restore(
    work: Path, run: Run, preset: Preset, model: AutoEncoder, optimizer: torch.optim.Optimizer
) -> list[EpochLoss]:
    state = _read(work)
    if state is None:
        return []
    held = Run(**state["run"])
    for field, ours in asdict(run).items():
        theirs = asdict(held)[field]
        # The same pictures may have moved; what they are is in the fingerprint.
        if theirs != ours and field != "data":
            raise ConfigError(
                f"{work} holds another run: its {field} is {theirs}, not {ours}; "
                f"give the same options to resume it, or another --work, or remove that folder"
            )
    _require_same(preset, state, work)
    model.load_state_dict(state["model"])
    # The settings are this run's own: a CPU and a GPU keep them in other forms.
    optimizer.load_state_dict({**state["optimizer"], "param_groups": optimizer.state_dict()["param_groups"]})
    return [EpochLoss(**each) for each in state["history"]]


def _require_same(preset: Preset, state: dict[str, Any], work: Path) -> None:
    """Raises ConfigError if a checkpoint was made with other values of a preset of the same name.

    What only the steps after it need may differ: they are taken again in a minute.
    """
    held = state.get("preset") or {}
    if any(held.get(name) != value for name, value in asdict(preset).items() if name not in _NOT_FITTED):
        raise ConfigError(
            f"{work} was trained with other values of preset {preset.name!r}, by another version of twinwatch; "
            f"give another --work, or remove that folder"
        )


def _save(
    work: Path, run: Run, preset: Preset, model: AutoEncoder, optimizer: torch.optim.Optimizer, history: list[EpochLoss]
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    state = {
        "run": asdict(run),
        "preset": asdict(preset),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(each) for each in history],
        "trained_on": _machine(next(model.parameters()).device),
    }
    fresh = work / f"{CHECKPOINT}.new"
    torch.save(state, fresh)
    fresh.replace(work / CHECKPOINT)  # a kill leaves the old checkpoint or the new one


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
