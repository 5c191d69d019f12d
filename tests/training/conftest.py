"""Small textured pictures, and one finished run of the command line that several tests look at."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from twinwatch_training.cli import main

Train = Callable[..., "Done"]
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


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What one whole run left behind."""

    data: Path
    out: Path
    output: str


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small wait for each other's threads longer than they compute."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def texture() -> Texture:
    return make_texture


@pytest.fixture(scope="session")
def fill() -> Fill:
    return make_pictures


@pytest.fixture(scope="session")
def train() -> Train:
    """Run the command line as a user does, but in this process: importing torch takes seconds."""

    def run(*words: object) -> Done:
        printed, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(errors):
            patch.setattr(sys, "argv", ["twinwatch-train", *map(str, words)])
            with pytest.raises(SystemExit) as ended:
                main()
        return Done(int(ended.value.code or 0), printed.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, train: Train) -> Finished:
    """The seed preset, one epoch, on 80 pictures, a damaged one and a copy of one."""
    folder = tmp_path_factory.mktemp("run")
    data = make_pictures(folder / "data", 80)
    (data / "broken.jpg").write_bytes((data / "001.jpg").read_bytes()[:300])
    (data / "same.jpg").write_bytes((data / "001.jpg").read_bytes())
    done = train(data, "--out", folder / "bundle", "--preset", "seed", "--epochs", 1, "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(data, folder / "bundle", done.stdout)
