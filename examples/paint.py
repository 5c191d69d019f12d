"""Paints pictures that look a little like photographs: enough for an example folder and for tests. Seeded."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter


def paint(seed: int, width: int = 480, height: int = 360) -> Image.Image:
    """Return an RGB picture with sky, hills, houses and grain; every seed gives another one."""
    rng = np.random.default_rng(seed)
    ground = _clouds(rng, width, height)  # [H, W, 3]
    image = Image.fromarray(ground)
    draw = ImageDraw.Draw(image)
    for layer in range(3):
        heights = _ridge(rng, width, height * (0.35 + 0.2 * layer), height * 0.15)
        outline = [(0, height), *((x, float(y)) for x, y in enumerate(heights)), (width, height)]
        draw.polygon(outline, fill=_colour(rng))
    for _ in range(int(rng.integers(6, 14))):
        x, y = rng.integers(0, width), rng.integers(height // 4, height)
        w, h = rng.integers(width // 20, width // 6), rng.integers(height // 16, height // 4)
        box = (int(x), int(y), int(x + w), int(y + h))
        shape = draw.rectangle if rng.random() < 0.6 else draw.ellipse
        shape(box, fill=_colour(rng), outline=_colour(rng), width=2)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32)  # [H, W, 3]
    grain = rng.normal(0, 4, soft.shape)
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


def _clouds(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Smooth noise at several scales, uint8 [H, W, 3]."""
    total = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 0.5), (8, 0.3), (24, 0.2)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8))
        total += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return total.astype(np.uint8)


def _ridge(rng: np.random.Generator, width: int, base: float, swing: float) -> NDArray[np.float64]:
    """A hill line: heights in pixels, [W]."""
    knots = rng.uniform(-swing, swing, 9)
    return base + np.interp(np.arange(width), np.linspace(0, width, 9), knots)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(20, 236, 3)
    return int(red), int(green), int(blue)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.count):
        paint(number).save(arguments.folder / f"landscape-{number:02d}.jpg", quality=92)


if __name__ == "__main__":
    main()
