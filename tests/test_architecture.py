"""The packages keep to their borders: code outside imports only a package's face, and light modules stay light.

The direction of imports between packages is import-linter's to check (`make lint`).
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SOURCES = [PROJECT / "daemon", PROJECT / "training"]
PACKAGES = sorted(path.parent.name for path in (PROJECT / "daemon" / "twinwatch").glob("*/__init__.py"))
NEGATION = re.compile(r"\b(never|nothing|nor|no|not|only)\b")


def modules() -> Iterator[tuple[str, Path]]:
    """Each module of the daemon and of training, with its file."""
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def face(package: str) -> set[str]:
    """The names that a package exports: those of `__all__`, or of the stub where they are loaded on demand."""
    folder = PROJECT / "daemon" / "twinwatch" / package
    stub = folder / "__init__.pyi"
    if stub.exists():
        imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
        return {alias.asname or alias.name for node in imports for alias in node.names}
    for node in ast.parse((folder / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{folder} has no __all__")


def imported(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """The dotted name of everything that a module's source imports, also within its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level + is_package or None] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def trespasses(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module imports from inside another package, past its face."""
    own = module.split(".")[1:2]
    found = []
    for name in imported(source, module, is_package):
        root, *rest = name.split(".")
        if root != "twinwatch" or not rest or rest[0] not in PACKAGES or rest[:1] == own:
            continue
        past = len(rest) > 2 or (len(rest) == 2 and rest[1] not in face(rest[0]))
        if past:
            found.append(name)
    return found


def test_what_is_imported_from_a_package_is_named_by_its_face() -> None:
    found = {name: past for name, path in modules() if (past := trespasses(path.read_text(), name, _is_face(path)))}
    assert found == {}


def _is_face(path: Path) -> bool:
    return path.name == "__init__.py"


@pytest.mark.parametrize(
    "source",
    [
        "from twinwatch.fs.files import look",
        "from twinwatch.fs import files",
        "import twinwatch.fs.files",
        "from ..fs.files import look",
        "def late():\n    from twinwatch.fs.files import look",
    ],
)
def test_an_import_past_a_face_is_noticed(source: str) -> None:
    assert trespasses(source, "twinwatch.store.catalog")
    assert not trespasses(source, "twinwatch.fs.access")


@pytest.mark.parametrize(
    "source", ["from twinwatch.fs import open_root", "from twinwatch import fs", "import twinwatch.fs"]
)
def test_an_import_of_a_face_is_allowed(source: str) -> None:
    assert not trespasses(source, "twinwatch.store.catalog")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_for_and_what_it_never_does(package: str) -> None:
    docstring = ast.get_docstring(ast.parse((PROJECT / "daemon/twinwatch" / package / "__init__.py").read_text()))
    assert docstring is not None
    first, *others = re.split(r"(?<=[.?])\s+", docstring)
    assert len(first) > 20
    assert any(NEGATION.search(sentence) for sentence in others), docstring


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_face_resolves(package: str) -> None:
    module = importlib.import_module(f"twinwatch.{package}")
    names = face(package)
    assert names
    assert set(module.__all__) == names
    assert [name for name in sorted(names) if not hasattr(module, name)] == []


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import twinwatch.config", {"PIL", "pillow_heif", "numpy", "cv2", "onnxruntime", "sqlalchemy"}),
        ("from twinwatch.calibration import calibrate, edited_bytes", {"twinwatch.judging", "twinwatch.store"}),
        # A file can be put back where the model, ONNX Runtime or OpenCV is broken.
        ("import twinwatch.review", {"onnxruntime", "cv2", "PIL", "twinwatch.judging", "twinwatch.workers"}),
        # A decoder is a process of its own: whatever this loads, each of them holds in memory.
        ("import twinwatch.workers.tasks", {"pydantic", "structlog", "sqlalchemy", "onnxruntime", "cv2"}),
        # What only reads the catalogue answers at once.
        ("from twinwatch.store import resolve_root", {"onnxruntime", "cv2", "PIL", "torch"}),
    ],
    ids=["config", "calibration", "review", "workers", "store"],
)  # fmt: skip
def test_an_import_stays_light(statement: str, unwanted: set[str]) -> None:
    assert loaded_by(statement) & unwanted == set()


def test_the_clock_loads_nothing_else_of_ours() -> None:
    ours = {name for name in loaded_by("import twinwatch.clock") if name.partition(".")[0] == "twinwatch"}
    assert ours == {"twinwatch", "twinwatch.clock"}
