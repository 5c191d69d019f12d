"""One finished run of the command line that several tests look at."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from twinwatch_training.cli import main

FORGING = "<script>\nforged \x1b[5m\u202e\udcff.jpg"
Train = Callable[..., "Done"]
Fill = Callable[[Path, int], Path]


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
def finished(tmp_path_factory: pytest.TempPathFactory, train: Train, fill: Fill) -> Finished:
    """The seed preset, one epoch, on 80 pictures, a damaged one and a copy of one."""
    folder = tmp_path_factory.mktemp("run")
    data = fill(folder / "data", 80)
    (data / "broken.jpg").write_bytes((data / "001.jpg").read_bytes()[:300])
    (data / FORGING).write_text("no picture")
    (data / "same.jpg").write_bytes((data / "001.jpg").read_bytes())
    done = train(data, "--out", folder / "bundle", "--preset", "seed", "--epochs", 1, "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(data, folder / "bundle", done.stdout)
