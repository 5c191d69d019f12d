"""The levels decide: another value gives another answer, and no module that compares holds a threshold of its own."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import twinwatch.evidence
from twinwatch.evidence import DEFAULT, Levels, View, compare

COPY = 0.6
PACKAGE = Path(twinwatch.evidence.__file__).parent
MEASURING = {"view.py", "view_cache.py", "resize.py"}  # they prepare pictures and compare nothing
COMPARING = sorted({path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "levels.py", "arrays.py"} - MEASURING)
STRUCTURAL = {0.0, 0.5, 1.0, 127.5}  # 127.5 is the middle of the levels 0..255


def photo(seed: int) -> NDArray[np.uint8]:
    rng, picture = np.random.default_rng(seed), np.full((240, 320, 3), 128, np.float32)
    for cells, strength in ((4, 60.0), (12, 40.0), (40, 25.0), (110, 15.0)):
        rough = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(rough, (320, 240), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def with_strip(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lower quarter under a strip of one colour, which hides that much of the picture."""
    covered = picture.copy()
    covered[180:] = (250, 205, 50)
    return covered


STRICTER: dict[str, Levels] = {
    "a picture is blank": replace(DEFAULT, min_deviation=200.0),
    "much is hidden": replace(
        DEFAULT,
        photo=replace(DEFAULT.photo, max_hidden_area=0.1),
        bars=replace(DEFAULT.bars, depth_range=(0.03, 0.05)),
    ),
    "nothing aligns": replace(
        DEFAULT, alignment=replace(DEFAULT.alignment, min_thumb_correlation=2.0, min_coarse_inliers=10**6)
    ),
}


@pytest.mark.parametrize("name", STRICTER)
def test_other_levels_give_another_answer(name: str) -> None:
    original, copy = View.of(photo(1)), View.of(with_strip(photo(1)))
    assert compare(original, copy).score >= COPY
    assert compare(original, copy, STRICTER[name]).score < COPY
    assert compare(original, copy).score >= COPY  # a view keeps its measurements apart by their levels


def test_every_level_is_frozen_and_hashable() -> None:
    def parts(levels: object) -> list[object]:
        if not is_dataclass(levels):
            return []
        return [levels, *(part for each in fields(levels) for part in parts(getattr(levels, each.name)))]

    for levels in parts(DEFAULT):
        assert hash(levels) == hash(replace(levels))  # type: ignore[type-var]
        with pytest.raises((AttributeError, TypeError)):
            setattr(levels, fields(levels)[0].name, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COMPARING)
def test_no_module_that_compares_holds_a_threshold_of_its_own(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    comparisons = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    constants = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    numbers = [number for node in comparisons for number in ast.walk(node)] + [
        number for value in constants if not isinstance(value, ast.Call) for number in ast.walk(value)
    ]
    found = [
        f"line {number.lineno}: {number.value}"
        for number in numbers
        if isinstance(number, ast.Constant) and isinstance(number.value, float) and number.value not in STRUCTURAL
    ]
    assert found == [], f"{name}: these belong in levels.py"
