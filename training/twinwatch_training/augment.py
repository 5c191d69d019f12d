"""Augmentation: random views of a whole batch of pictures at once, made on the device.

They teach the encoder what a copy may look like. Copies for measuring are made by `twinwatch.calibration` instead.
Shapes: N pictures, C channels, S pixels a side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from twinwatch_training.presets import Augmentation


def orientations(pictures: Tensor) -> Tensor:
    """[N, C, S, S] -> [N, 8, C, S, S]: the four quarter turns of the picture and of its mirror image."""
    both = (pictures, pictures.flip(3))
    return torch.stack([torch.rot90(each, turns, (2, 3)) for each in both for turns in range(4)], dim=1)


def augment(pictures: Tensor, ranges: Augmentation, detail: int, generator: torch.Generator) -> Tensor:
    """Return one random view of each picture: float [N, 3, D * S, D * S] in 0..1 -> [N, 3, S, S], where D is `detail`.

    All random numbers come from `generator`, which must be on the device of `pictures`.
    """
    draw = _Draw(len(pictures), generator)
    out = functional.avg_pool2d(_frame(pictures, ranges, draw), detail)
    out = _colour(out, ranges, draw)
    out = _bar(out, ranges, draw)
    out = _sticker(out, ranges, draw)
    out = _blur(out, ranges, draw)
    sigma = draw.between(0, ranges.noise) * draw.happens(ranges.noise_share)  # [N]
    noise = torch.randn(out.shape, generator=generator, device=out.device)
    return (out + noise * _column(sigma)).clamp(0, 1)


class _Draw:
    """Draws random numbers, one for each picture of a batch."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count = count
        self.generator = generator

    def between(self, low: float, high: float) -> Tensor:
        """Uniform in low to high, [N]."""
        drawn = torch.rand(self.count, generator=self.generator, device=self.generator.device)  # [N]
        return low + (high - low) * drawn

    def happens(self, share: float) -> Tensor:
        """1 for about `share` of the pictures and 0 for the others, [N]."""
        return (self.between(0, 1) < share).float()

    def fill(self) -> Tensor:
        """A colour: black for half of the pictures, white for a quarter, else any, [N, 3, 1, 1]."""
        kind = self.between(0, 1)[:, None]  # [N, 1]
        colour = torch.stack([self.between(0, 1) for _ in range(3)], dim=1)  # [N, 3]
        colour = torch.where(kind < 0.5, torch.zeros_like(colour), colour)
        return torch.where(kind > 0.75, torch.ones_like(colour), colour)[:, :, None, None]


def _frame(pictures: Tensor, ranges: Augmentation, draw: _Draw) -> Tensor:
    """Orientation, scale, stretch, rotation and shift in one affine map; a plain colour outside the picture."""
    moves = 1 - draw.happens(ranges.plain_share)  # [N]
    scale = torch.exp(draw.between(math.log(ranges.scale[0]), math.log(ranges.scale[1])) * moves)
    stretch = torch.exp(draw.between(-ranges.stretch, ranges.stretch) * moves * draw.happens(0.5))
    turn = draw.between(-1, 1) * math.radians(ranges.turn_degrees) * moves * draw.happens(0.5)
    turn = turn + torch.floor(draw.between(0, 4)) * (math.pi / 2)
    mirror = 1 - 2 * draw.happens(0.5)
    shift = torch.stack([draw.between(-1, 1), draw.between(-1, 1)], dim=1)  # [N, 2]
    # grid_sample takes the source of each output pixel, in -1..1: a side is 2 long, and scale divides.
    shift = shift * 2 * ranges.shift * (moves * draw.happens(0.6))[:, None]
    across, down = 1 / (scale * stretch), stretch / scale
    cos, sin = torch.cos(turn), torch.sin(turn)
    linear = torch.stack([mirror * cos * across, -mirror * sin * down, sin * across, cos * down], dim=1)  # [N, 4]
    affine = torch.cat([linear.view(-1, 2, 2), shift[:, :, None]], dim=2)  # [N, 2, 3]
    grid = functional.affine_grid(affine, list(pictures.shape), align_corners=False)  # [N, S, S, 2]
    fill = draw.fill()
    return functional.grid_sample(pictures - fill, grid, align_corners=False) + fill


def _colour(pictures: Tensor, ranges: Augmentation, draw: _Draw) -> Tensor:
    """Brightness, contrast, tint, gamma, and grey for some."""
    brightness = _column(draw.between(*ranges.brightness))
    contrast = _column(draw.between(*ranges.contrast))
    changes = _column(draw.happens(0.7))
    tint = torch.stack([draw.between(-ranges.tint, ranges.tint) for _ in range(3)], dim=1)[:, :, None, None]
    gamma = torch.exp(draw.between(math.log(ranges.gamma[0]), math.log(ranges.gamma[1])) * draw.happens(0.5))
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
    changed = ((pictures - mean) * contrast + mean) * (brightness + tint * _column(draw.happens(0.5)))
    out = torch.lerp(pictures, changed, changes).clamp(1e-4, 1) ** _column(gamma)
    # Luma of ITU-R BT.601, as in Pillow. Filled on the device, as a CUDA graph may copy nothing to it.
    weights = torch.stack([out.new_full((), weight) for weight in (0.299, 0.587, 0.114)])[:, None, None]  # [3, 1, 1]
    grey = (out * weights).sum(dim=1, keepdim=True).expand_as(out)
    return torch.lerp(out, grey, _column(draw.happens(ranges.grey_share)))


def _bar(pictures: Tensor, ranges: Augmentation, draw: _Draw) -> Tensor:
    """Cover a strip along one side with a plain colour."""
    side = pictures.shape[2]
    height = draw.between(*ranges.bar) * draw.happens(ranges.bar_share)  # [N]
    edge = torch.floor(draw.between(0, 4))[:, None]  # [N, 1]
    place = (torch.arange(side, device=pictures.device) + 0.5)[None, :] / side  # [1, S]
    near, far = place < height[:, None], place > 1 - height[:, None]  # [N, S]
    rows = (near & (edge == 0)) | (far & (edge == 1))
    columns = (near & (edge == 2)) | (far & (edge == 3))
    covered = rows[:, None, :, None] | columns[:, None, None, :]  # [N, 1, S, S]
    return torch.where(covered, draw.fill(), pictures)


def _sticker(pictures: Tensor, ranges: Augmentation, draw: _Draw) -> Tensor:
    """Cover part with an ellipse or a box, filled with a colour or with what the next picture shows there."""
    side = pictures.shape[2]
    place = (torch.arange(side, device=pictures.device) + 0.5)[None, :] / side  # [1, S]
    across, down = (
        ((place - draw.between(0.15, 0.85)[:, None]) / draw.between(*ranges.sticker)[:, None]).square()  # [N, S]
        for _ in range(2)
    )
    round_ = _column(draw.happens(0.5))[:, 0]  # [N, 1, 1]
    ellipse = down[:, :, None] + across[:, None, :]  # [N, S, S]
    box = torch.maximum(down[:, :, None], across[:, None, :])
    covered = (torch.where(round_ > 0, ellipse, box) < 1) & (_column(draw.happens(ranges.sticker_share))[:, 0] > 0)
    shown = torch.where(_column(draw.happens(0.5)) > 0, pictures.roll(1, dims=0), draw.fill())
    return torch.where(covered[:, None], shown, pictures)


def _blur(pictures: Tensor, ranges: Augmentation, draw: _Draw) -> Tensor:
    """Gaussian blur with a width for each picture: each channel of each picture is a convolution group of its own."""
    count, channels, side, _ = pictures.shape
    sigma = draw.between(0, ranges.blur_sigma * side) * draw.happens(ranges.blur_share) + 1e-3  # [N]
    reach = math.ceil(2.5 * ranges.blur_sigma * side)
    offsets = torch.arange(-reach, reach + 1, device=pictures.device)[None, :]  # [1, K]
    kernel = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # [N * C, K]
    groups = count * channels
    flat = functional.pad(pictures.reshape(1, groups, side, side), (reach,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=groups)
    return functional.conv2d(flat, kernel[:, None, :, None], groups=groups).view_as(pictures)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # [N] -> [N, 1, 1, 1]
