"""Which libraries a command loads: those that only show or restore something load none that takes long to load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daemon_site import Site

PICTURE_LIBRARIES = {"onnxruntime", "cv2", "PIL", "pillow_heif"}
LIGHT = [("list", 0), ("status", 0), ("restore --all", 1), ("dismiss 00000000", 0), ("resume", 0), ("rebuild", 0)]
"""Commands and their exit codes: the quarantine of these tests does not hold the file that restore asks for."""

SHOW_LOADED = """
import sys
sys.argv[0] = "twinwatch"
from twinwatch.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded_by(*arguments: str, code: int = 0) -> set[str]:
    """Run a command that ends with this exit code; return the top-level packages that its process loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW_LOADED, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(("command", "code"), LIGHT)
def test_commands_that_look_at_no_picture_load_no_picture_library(judged: Site, command: str, code: int) -> None:
    loaded = loaded_by(*command.split(), "-c", str(judged.config), code=code)
    assert "sqlalchemy" in loaded
    assert loaded & PICTURE_LIBRARIES == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["scan", "--help"], ["list", "--help"]])
def test_help_and_version_load_no_database_library_either(arguments: list[str]) -> None:
    loaded = loaded_by(*arguments)
    assert "typer" in loaded
    assert loaded & (PICTURE_LIBRARIES | {"sqlalchemy", "alembic", "numpy", "structlog"}) == set()
