"""Fixtures for all tests: a trained bundle and painted pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twinwatch.bundle import locate

Texture = Callable[..., NDArray[np.uint8]]
Fill = Callable[[Path, int], Path]


def make_texture(number: int, width: int = 96, height: int = 72) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: smooth blobs over a grid, another one for each number."""
    rng = np.random.default_rng(number)
    cells = rng.integers(0, 256, (rng.integers(3, 9), rng.integers(3, 9), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))


def make_pictures(folder: Path, count: int) -> Path:
    """Write `count` different pictures below `folder`, some in a subfolder."""
    (folder / "more").mkdir(parents=True)
    for number in range(count):
        name = f"more/{number:03}.png" if number % 4 == 0 else f"{number:03}.jpg"
        Image.fromarray(make_texture(number)).save(folder / name, quality=92)
    return folder


@pytest.fixture(scope="session")
def bundle() -> Path:
    """A trained bundle: the one that ships."""
    return locate("default")


@pytest.fixture(scope="session")
def texture() -> Texture:
    return make_texture


@pytest.fixture(scope="session")
def fill() -> Fill:
    return make_pictures
