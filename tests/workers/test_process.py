"""What real decoder processes load, as there is one for each core: nothing that decoding or comparing does not need."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

# A console script imports `twinwatch.__main__`, and each process that it spawns imports that again.
SCRIPT = """
import json
import multiprocessing
import os
import sys
from functools import partial

from twinwatch.__main__ import main

if __name__ == "__main__":
    from twinwatch.workers.process import UP, serve

    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    arguments = theirs, 2048, 60, os.getpid(), sys.argv[1] == "compares"
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    process.start()
    assert ours.recv() == UP
    ours.send(partial(eval, "sorted(__import__('sys').modules)"))
    print(json.dumps(ours.recv()))
"""
PACKAGES = {"__main__", "decoding", "errors", "fs", "signals", "wording", "workers"}
LIBRARIES = {"numpy", "PIL", "_pillow_heif", "pillow_heif", "lazy_loader"}


@cache
def loaded_by_python() -> frozenset[str]:
    """Return what Python itself loads here, `.pth` files of the environment included."""
    command = [sys.executable, "-P", "-c", "import sys; print(*sys.modules)"]
    return frozenset(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def loaded(folder: Path, kind: str) -> set[str]:
    """Return the modules that a decoder process has loaded when it is ready for its first task."""
    script = folder / "twinwatch-script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run([sys.executable, "-P", str(script), kind], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout)) - loaded_by_python() - set(sys.stdlib_module_names) - {"__mp_main__"}


@pytest.mark.parametrize(
    ("kind", "packages", "libraries"),
    [("decodes", PACKAGES, LIBRARIES), ("compares", PACKAGES | {"evidence"}, LIBRARIES | {"cv2"})],
)
def test_a_process_loads_what_its_tasks_need_and_no_more(
    tmp_path: Path, kind: str, packages: set[str], libraries: set[str]
) -> None:
    modules = loaded(tmp_path, kind)
    ours = {module.split(".")[1] for module in modules if module.startswith("twinwatch.")}
    others = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"twinwatch"}
    assert ours == packages
    assert others == libraries
    assert not {"pydantic", "structlog", "sqlalchemy", "onnxruntime", "typer", "yaml"} & others


@pytest.mark.parametrize("kind", ["decodes", "compares"])
def test_a_process_holds_its_own_half_of_the_package_only(tmp_path: Path, kind: str) -> None:
    modules = {module for module in loaded(tmp_path, kind) if module.startswith("twinwatch.workers.")}
    assert modules == {f"twinwatch.workers.{name}" for name in ("malloc", "process", "sandbox", "tasks")}
