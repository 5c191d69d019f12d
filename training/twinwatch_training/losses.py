"""What training minimises: for `default` a contrastive loss, for `seed` the error of reconstruction alone.

Letters in shapes: B pictures in a batch, S pixels a side of the encoder's input, D the preset's `detail`, so that the
pictures that views are made of have D * S pixels a side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from twinwatch_training.augment import augment, orientations
from twinwatch_training.model import AutoEncoder
from twinwatch_training.presets import Preset


def training_loss(
    model: AutoEncoder, preset: Preset, pixels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return (total, reconstruction), both scalars, for float pixels [B, 3, D * S, D * S] in 0..1."""
    if preset.views is None:
        restored = model.decode(model.encode(pixels))  # [B, 3, S, S], D is 1
        loss = functional.binary_cross_entropy(restored, pixels)
        return loss, loss
    with torch.no_grad():
        pair = [augment(pixels, each, preset.detail, generator) for each in preset.views]
        views = torch.cat(pair).contiguous(memory_format=torch.channels_last)  # [2B, 3, S, S]
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=preset.bfloat16 and _has_bfloat16(pixels.device)):
        embeddings = model.encode(views)  # [2B, 256]
        restored = model.decode(embeddings[: len(pixels)])  # [B, 3, S, S]
    contrast = info_nce(embeddings.float(), preset.temperature)
    spread = koleo(embeddings.float())
    reconstruction = _reconstruction_loss(restored.float(), functional.avg_pool2d(pixels, preset.detail))
    total = contrast + preset.spread_weight * spread + preset.reconstruction_weight * reconstruction
    return total, reconstruction


def info_nce(embeddings: Tensor, temperature: float) -> Tensor:
    """Contrastive loss: find each view's positive among all other views of the batch (Chen et al. 2020, SimCLR, eq. 1).

    Embeddings are [2B, 256] of length 1. Rows i and i + B show the same picture: they are a positive pair.
    """
    count = len(embeddings)
    similarity = embeddings @ embeddings.T / temperature  # [2B, 2B]
    similarity = similarity.masked_fill(torch.eye(count, dtype=torch.bool, device=embeddings.device), -math.inf)
    positive = torch.arange(count, device=embeddings.device).roll(count // 2)  # [2B]
    return functional.cross_entropy(similarity, positive)


def koleo(embeddings: Tensor) -> Tensor:
    """KoLeo regulariser: minus the mean log distance to the nearest negative (Sablayrolles et al. 2019, eq. 3).

    It spreads embeddings evenly, so that one radius separates copies from non-copies. Rows are as for `info_nce`.
    """
    count = len(embeddings)
    with torch.no_grad():
        similarity = embeddings @ embeddings.T  # [2B, 2B]
        positive = torch.arange(count, device=embeddings.device).roll(count // 2)  # [2B]
        similarity.fill_diagonal_(-2.0).scatter_(1, positive[:, None], -2.0)  # below the least cosine, -1
        nearest = similarity.argmax(dim=1)  # [2B]
    distance = (embeddings - embeddings[nearest]).norm(dim=1)  # [2B]
    return -torch.log(distance + 1e-6).mean()


def _reconstruction_loss(restored: Tensor, pixels: Tensor) -> Tensor:
    """Mean squared error of [B, 3, S, S] against the nearest of the eight orientations of `pixels`, of the same shape.

    A view may have any orientation, and its embedding should not depend on which.
    """
    with torch.no_grad():
        # The nearest orientation is chosen at an eighth of the size, which takes a fraction of the memory.
        small = orientations(functional.avg_pool2d(pixels, 8))  # [B, 8, 3, S / 8, S / 8]
        errors = (functional.avg_pool2d(restored, 8)[:, None] - small).square().mean(dim=(2, 3, 4))  # [B, 8]
        rows = torch.arange(len(pixels), device=pixels.device)
        target = orientations(pixels)[rows, errors.argmin(dim=1)]  # [B, 3, S, S]
    return functional.mse_loss(restored, target)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # On processors without these instructions bfloat16 is emulated and slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
