"""Mutation test: each mutant of the code breaks a promise, and one of the named tests must fail on it.

A mutant lives in a copy of the package. It counts as caught only where a test fails, not where one cannot be collected
or the mutant cannot be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import pytest

import twinwatch
from fault_counts import PROVE, Counting
from faults.mutants import MUTANTS, SAMPLE, Mutant

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(twinwatch.__file__).parent
CHOSEN = [mutant for mutant in MUTANTS if PROVE or mutant.name in SAMPLE]
UNFIT = ("SyntaxError", "ImportError", "ModuleNotFoundError", "NameError", "Timeout")
"""Errors of a mutant that cannot run, or that hangs: such a failure does not count."""

pytestmark = pytest.mark.timeout(600)


def name_of(mutant: Mutant) -> str:
    return mutant.name.replace(" ", "-")


def mutated(mutant: Mutant) -> str:
    source = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"the code has changed: {mutant.name} is to change {mutant.old!r}"
    changed = source.replace(mutant.old, mutant.new)
    compile(changed, mutant.file, "exec")
    return changed


def copied(folder: Path, files: Iterable[str], change: Mutant | None = None) -> Path:
    """Copy the package into a folder and change it there; what of `files` is imported leaves its bytecode."""
    copy = folder / "twinwatch"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("bundles"))
    (copy / "bundles").symlink_to(PACKAGE / "bundles")
    if change is not None:
        (copy / change.file).write_text(mutated(change), encoding="utf-8")
    for file in files:
        for compiled in bytecode_of(copy / file):
            compiled.unlink()
    return copy


def bytecode_of(source: Path) -> list[Path]:
    return list((source.parent / "__pycache__").glob(f"{source.stem}.*"))


def run(copy: Path, tests: Iterable[str], *options: str) -> tuple[int, list[ET.Element]]:
    """Run tests on a copy of the package; return pytest's exit status and the cases of its report."""
    report = copy.parent / "report.xml"
    dropped = {"TWINWATCH_PROVE", "PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment["PYTHONPATH"] = os.pathsep.join([str(copy.parent), str(REPOSITORY / "training")])
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-o", "timeout=60"]
    ran = subprocess.run(
        [*command, f"--junitxml={report}", f"--basetemp={copy.parent / 'tests'}", *options, *tests],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.exists(), ran.stdout + ran.stderr
    return ran.returncode, list(ET.parse(report).iter("testcase"))


def was_imported(copy: Path, files: Iterable[str]) -> bool:
    """True if each of these files was run from the copy: Python has compiled it there anew."""
    return all(bytecode_of(copy / file) for file in files)


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names of the tests that pass on a copy that is as the code is."""
    files = {mutant.file for mutant in CHOSEN}
    tests = dict.fromkeys(test for mutant in CHOSEN for test in mutant.tests)
    copy = copied(tmp_path_factory.mktemp("plain"), files)
    status, cases = run(copy, tests)
    assert status == 0, [case.get("name") for case in cases if len(case)]
    assert was_imported(copy, files)
    return frozenset(case.get("name", "").partition("[")[0] for case in cases if case.find("skipped") is None)


@pytest.mark.parametrize("mutant", CHOSEN, ids=name_of)
def test_a_mutant_is_caught(mutant: Mutant, passed: frozenset[str], tmp_path: Path, counting: Counting) -> None:
    if not any(test.rpartition("::")[2] in passed for test in mutant.tests):
        pytest.skip("the tests that would catch it cannot be run here")
    with counting("mutants of the code, each to be caught") as tally:
        copy = copied(tmp_path, [mutant.file], mutant)
        status, cases = run(copy, mutant.tests, "-x")
        assert was_imported(copy, [mutant.file])
        tally.inject()
        failures = [case.find("failure") for case in cases if case.find("failure") is not None]
        assert status == 1 and failures, f"{mutant.name} survives, though {mutant.breaks} no more"
        text = "".join(failure.text or "" for failure in failures if failure is not None)
        assert not any(error in text for error in UNFIT), text


@pytest.mark.parametrize("mutant", MUTANTS, ids=name_of)
def test_a_mutant_is_in_step_with_the_code(mutant: Mutant) -> None:
    assert mutated(mutant) != (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert mutant.tests


def test_each_mutant_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert set(SAMPLE) <= set(names)
