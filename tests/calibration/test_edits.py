"""The catalogue of edits: complete, deterministic, and each one does what its name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from twinwatch.calibration import ALL_EDITS, EDITS, HARD_EDITS, SEED_EDITS

Texture = Callable[..., NDArray[np.uint8]]


def test_the_eighteen_edits_of_the_goal_and_the_four_of_the_seed() -> None:
    assert len(EDITS) == 18
    assert len(HARD_EDITS) == 16
    assert set(SEED_EDITS) == {"blur_1", "shift_10", "rotate_180", "mirror"} <= set(EDITS)


@pytest.mark.parametrize("name", ALL_EDITS)
@pytest.mark.parametrize("size", [(96, 72), (40, 90), (3, 2), (1, 1)])
def test_every_edit_gives_a_picture_and_the_same_one_twice(name: str, size: tuple[int, int], texture: Texture) -> None:
    pixels = texture(1, *size)
    before = pixels.copy()
    edited = ALL_EDITS[name](pixels)
    assert edited.dtype == np.uint8
    assert edited.ndim == 3 and edited.shape[2] == 3 and min(edited.shape) >= 1
    assert np.array_equal(edited, ALL_EDITS[name](pixels))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("name", [name for name in ALL_EDITS if name != "png"])
def test_every_edit_changes_a_picture(name: str, texture: Texture) -> None:
    pixels = texture(2)
    edited = ALL_EDITS[name](pixels)
    assert edited.shape != pixels.shape or not np.array_equal(edited, pixels)


def test_geometry(texture: Texture) -> None:
    pixels = texture(3, 200, 120)
    assert np.array_equal(EDITS["mirror"](pixels), pixels[:, ::-1])
    assert np.array_equal(EDITS["flip"](pixels), pixels[::-1])
    assert np.array_equal(EDITS["rotate_180"](pixels), pixels[::-1, ::-1])
    assert np.array_equal(EDITS["rotate_90"](pixels), np.rot90(pixels))
    assert np.array_equal(EDITS["crop_20"](pixels), pixels[12:108, 20:180])
    assert EDITS["half"](pixels).shape == (60, 100, 3)
    shifted = EDITS["shift_10"](pixels)
    assert np.array_equal(shifted[12:, 20:], pixels[:108, :180])
    assert not shifted[:12].any() and not shifted[:, :20].any()
    bordered = EDITS["border_10"](pixels)
    assert bordered.shape == (160, 240, 3)
    assert (bordered[:20] == 255).all() and np.array_equal(bordered[20:140, 20:220], pixels)
    captioned = EDITS["caption"](pixels)
    assert np.array_equal(captioned[:105], pixels[:105])
    assert (captioned[105:] == 0).mean() > 0.5 and (captioned[105:] > 200).any()


def test_colour(texture: Texture) -> None:
    pixels = texture(4)
    grey = EDITS["grey"](pixels)
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert EDITS["brighter_25"](pixels).mean() > pixels.mean() * 1.1
    assert EDITS["contrast_30"](pixels).std() > pixels.std() * 1.1
    assert EDITS["blur_2.5"](pixels).std() < EDITS["blur_1"](pixels).std() < pixels.std()
