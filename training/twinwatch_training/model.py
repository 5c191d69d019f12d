"""The convolutional auto-encoder that a preset describes: pixels -> embedding of 256 numbers -> pixels.

It knows nothing of training. The daemon gets only the encoder, exported to ONNX.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from twinwatch_training.presets import EMBEDDING_DIM, Preset

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function that embeds uint8 [N, side, side, 3] as float32 [N, 256], with torch or ONNX Runtime."""


class AutoEncoder(nn.Module):
    """Encoder and decoder of a preset. Pixels are float [N, 3, side, side] in 0..1, embeddings [N, 256]."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.encoder = _encoder(preset)
        self.decoder = _default_decoder(preset.side) if preset.head == "gem" else _seed_decoder(preset)

    def encode(self, pixels: Tensor) -> Tensor:
        """[N, 3, side, side] -> [N, 256]."""
        return self.encoder(pixels)  # type: ignore[no-any-return]  # torch types modules as returning Any

    def decode(self, embedding: Tensor) -> Tensor:
        """[N, 256] -> [N, 3, side, side] in 0..1."""
        return self.decoder(embedding)  # type: ignore[no-any-return]


class Exported(nn.Module):
    """The module that is exported to ONNX and run by the daemon; it takes bytes and scales them itself."""

    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [N, side, side, 3] -> float32 [N, 256]."""
        return self.model.encode(to_float(pixels))


class GeM(nn.Module):
    """Generalised-mean pooling with p = 3 (Radenovic et al. 2018, eq. 3): [N, C, H, W] -> [N, C]."""

    def forward(self, features: Tensor) -> Tensor:
        return features.float().clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)


class UnitNorm(nn.Module):
    """[N, D] -> [N, D], every row of length 1."""

    def forward(self, embedding: Tensor) -> Tensor:
        return functional.normalize(embedding.float(), dim=1)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] -> float [N, 3, H, W] in 0..1."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def embedder(model: AutoEncoder, device: torch.device, batch: int = 512) -> Embed:
    """Return a function that embeds uint8 [N, side, side, 3] in batches, always in float32."""

    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        model.eval()
        rows = []
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                part = to_float(torch.from_numpy(pixels[start : start + batch]).to(device))  # [n, 3, side, side]
                rows.append(model.encode(part).cpu().numpy())
        return np.concatenate(rows).astype(np.float32)

    return embed


def _encoder(preset: Preset) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for conv in preset.convs:
        normed = preset.head == "gem"
        layers.append(
            nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride, padding=conv.kernel // 2, bias=not normed)
        )
        if normed:
            layers.append(nn.BatchNorm2d(conv.filters))  # folds into the convolution on export
        layers.append(nn.LeakyReLU(preset.leak) if preset.leak else nn.ReLU())
        if conv.pool != "none":
            layers.append(nn.MaxPool2d(2) if conv.pool == "max" else nn.AvgPool2d(2))
        channels = conv.filters
    if preset.head == "flatten":
        return nn.Sequential(*layers, nn.Flatten())  # [N, 16, 4, 4] -> [N, 256]
    return nn.Sequential(*layers, GeM(), nn.Linear(channels, EMBEDDING_DIM), UnitNorm())  # [N, 512, 8, 8] -> [N, 256]


def _seed_decoder(preset: Preset) -> nn.Sequential:
    """Three transposed convolutions, each doubling, then 5x5 to 4 and 3x3 to 3 channels."""
    layers: list[nn.Module] = [nn.Unflatten(1, (16, 4, 4))]  # [N, 256] -> [N, 16, 4, 4]
    for into, out in ((16, 16), (16, 8), (8, 4)):  # -> [N, 16, 8, 8] -> [N, 8, 16, 16] -> [N, 4, 32, 32]
        layers.append(nn.ConvTranspose2d(into, out, 3, stride=2, padding=1, output_padding=1))
        layers.append(nn.LeakyReLU(preset.leak))
    layers += [nn.Conv2d(4, 4, 5, padding=2), nn.LeakyReLU(preset.leak)]  # [N, 4, 32, 32]
    return nn.Sequential(*layers, nn.Conv2d(4, 3, 3, padding=1), nn.Sigmoid())  # [N, 3, 32, 32]


def _default_decoder(side: int) -> nn.Sequential:
    """Four doublings of side / 16. Small, as it only trains the encoder and shows people what an embedding keeps."""
    least = side // 16
    layers: list[nn.Module] = [nn.Linear(EMBEDDING_DIM, 128 * least**2), nn.ReLU()]
    layers.append(nn.Unflatten(1, (128, least, least)))
    for into, out in ((128, 64), (64, 32), (32, 16)):  # -> [N, 64, S / 8, S / 8] -> ... -> [N, 16, S / 2, S / 2]
        layers += [nn.ConvTranspose2d(into, out, 4, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    layers += [nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2)]  # -> [N, 3, S, S]
    return nn.Sequential(*layers, nn.Sigmoid())
