"""Training views: edited versions of a whole batch at once, made on the device.

They teach what a copy may look like. What a known copy is, for measuring, is the catalogue in `edits`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from twinwatch_training.presets import Views


def orientations(pictures: Tensor) -> Tensor:
    """[N, C, S, S] -> [N, 8, C, S, S]: the four quarter turns of the picture and of its mirror image."""
    both = (pictures, pictures.flip(3))
    return torch.stack([torch.rot90(each, turns, (2, 3)) for each in both for turns in range(4)], dim=1)


def make_views(pictures: Tensor, views: Views, detail: int, generator: torch.Generator) -> Tensor:
    """Return one random view of each picture: float [N, 3, D * S, D * S] in 0..1 -> [N, 3, S, S], where D is `detail`.

    All chance comes from `generator`, which must live on the device of `pictures`.
    """
    chance = _Chance(len(pictures), generator)
    out = functional.avg_pool2d(_frame(pictures, views, chance), detail)
    out = _colour(out, views, chance)
    out = _bar(out, views, chance)
    out = _sticker(out, views, chance)
    out = _blur(out, views, chance)
    sigma = chance.between(0, views.noise) * chance.happens(views.noise_share)  # [N]
    noise = torch.randn(out.shape, generator=generator, device=out.device)
    return (out + noise * _column(sigma)).clamp(0, 1)


class _Chance:
    """Draws one number for each picture of a batch."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count = count
        self.generator = generator

    def between(self, low: float, high: float) -> Tensor:
        drawn = torch.rand(self.count, generator=self.generator, device=self.generator.device)  # [N]
        return low + (high - low) * drawn

    def happens(self, share: float) -> Tensor:
        return (self.between(0, 1) < share).float()  # [N]

    def fill(self) -> Tensor:
        """A colour for what the picture does not cover: half black, a quarter white, else any. [N, 3, 1, 1]"""
        kind = self.between(0, 1)[:, None]  # [N, 1]
        colour = torch.stack([self.between(0, 1) for _ in range(3)], dim=1)  # [N, 3]
        colour = torch.where(kind < 0.5, torch.zeros_like(colour), colour)
        return torch.where(kind > 0.75, torch.ones_like(colour), colour)[:, :, None, None]


def _frame(pictures: Tensor, views: Views, chance: _Chance) -> Tensor:
    """One affine map for orientation, scale, stretch, turn and shift; outside the picture a fill."""
    moves = 1 - chance.happens(views.plain_share)  # [N]
    scale = torch.exp(chance.between(math.log(views.scale[0]), math.log(views.scale[1])) * moves)
    stretch = torch.exp(chance.between(-views.stretch, views.stretch) * moves * chance.happens(0.5))
    turn = chance.between(-1, 1) * math.radians(views.turn_degrees) * moves * chance.happens(0.5)
    turn = turn + torch.floor(chance.between(0, 4)) * (math.pi / 2)
    mirror = 1 - 2 * chance.happens(0.5)
    shift = torch.stack([chance.between(-1, 1), chance.between(-1, 1)], dim=1)  # [N, 2]
    # grid_sample asks where each output pixel comes from, in -1..1, so a side is 2 long and scale divides.
    shift = shift * 2 * views.shift * (moves * chance.happens(0.6))[:, None]
    across, down = 1 / (scale * stretch), stretch / scale
    cos, sin = torch.cos(turn), torch.sin(turn)
    linear = torch.stack([mirror * cos * across, -mirror * sin * down, sin * across, cos * down], dim=1)
    affine = torch.cat([linear.view(-1, 2, 2), shift[:, :, None]], dim=2)  # [N, 2, 3]
    grid = functional.affine_grid(affine, list(pictures.shape), align_corners=False)  # [N, S, S, 2]
    fill = chance.fill()
    return functional.grid_sample(pictures - fill, grid, align_corners=False) + fill


def _colour(pictures: Tensor, views: Views, chance: _Chance) -> Tensor:
    brightness = _column(chance.between(*views.brightness))
    contrast = _column(chance.between(*views.contrast))
    changes = _column(chance.happens(0.7))
    tint = torch.stack([chance.between(-views.tint, views.tint) for _ in range(3)], dim=1)[:, :, None, None]
    gamma = torch.exp(chance.between(math.log(views.gamma[0]), math.log(views.gamma[1])) * chance.happens(0.5))
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
    changed = ((pictures - mean) * contrast + mean) * (brightness + tint * _column(chance.happens(0.5)))
    out = torch.lerp(pictures, changed, changes).clamp(1e-4, 1) ** _column(gamma)
    # ITU-R 601, as Pillow; filled on the device, as a recorded step may copy nothing to it.
    weights = torch.stack([out.new_full((), weight) for weight in (0.299, 0.587, 0.114)])[:, None, None]  # [3, 1, 1]
    grey = (out * weights).sum(dim=1, keepdim=True).expand_as(out)
    return torch.lerp(out, grey, _column(chance.happens(views.grey_share)))


def _bar(pictures: Tensor, views: Views, chance: _Chance) -> Tensor:
    side = pictures.shape[2]
    height = chance.between(*views.bar) * chance.happens(views.bar_share)  # [N]
    edge = torch.floor(chance.between(0, 4))[:, None]  # [N, 1]
    place = (torch.arange(side, device=pictures.device) + 0.5)[None, :] / side  # [1, S]
    near, far = place < height[:, None], place > 1 - height[:, None]  # [N, S]
    rows = (near & (edge == 0)) | (far & (edge == 1))
    columns = (near & (edge == 2)) | (far & (edge == 3))
    covered = rows[:, None, :, None] | columns[:, None, None, :]  # [N, 1, S, S]
    return torch.where(covered, chance.fill(), pictures)


def _sticker(pictures: Tensor, views: Views, chance: _Chance) -> Tensor:
    """An ellipse or a box over the picture, filled with a colour or with what the next picture shows there."""
    side = pictures.shape[2]
    place = (torch.arange(side, device=pictures.device) + 0.5)[None, :] / side  # [1, S]
    across, down = (
        ((place - chance.between(0.15, 0.85)[:, None]) / chance.between(*views.sticker)[:, None]).square()  # [N, S]
        for _ in range(2)
    )
    round_ = _column(chance.happens(0.5))[:, 0]  # [N, 1, 1]
    ellipse = down[:, :, None] + across[:, None, :]  # [N, S, S]
    box = torch.maximum(down[:, :, None], across[:, None, :])
    covered = (torch.where(round_ > 0, ellipse, box) < 1) & (_column(chance.happens(views.sticker_share))[:, 0] > 0)
    shown = torch.where(_column(chance.happens(0.5)) > 0, pictures.roll(1, dims=0), chance.fill())
    return torch.where(covered[:, None], shown, pictures)


def _blur(pictures: Tensor, views: Views, chance: _Chance) -> Tensor:
    """Gaussian, another width for each picture: each channel of each picture is a group of its own."""
    count, channels, side, _ = pictures.shape
    sigma = chance.between(0, views.blur_sigma * side) * chance.happens(views.blur_share) + 1e-3  # [N]
    reach = math.ceil(2.5 * views.blur_sigma * side)
    offsets = torch.arange(-reach, reach + 1, device=pictures.device)[None, :]  # [1, K]
    kernel = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # [N * C, K]
    groups = count * channels
    flat = functional.pad(pictures.reshape(1, groups, side, side), (reach,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=groups)
    return functional.conv2d(flat, kernel[:, None, :, None], groups=groups).view_as(pictures)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # [N] -> [N, 1, 1, 1]
