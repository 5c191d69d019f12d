"""Usage errors of the command line: exit code 2 and a message, never a traceback."""

from __future__ import annotations

import pytest

from daemon_site import twinwatch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "/nowhere/at/all"], "no such folder"),
        (["scan", "/etc/hostname"], "not a folder"),
        (["scan", "/tmp", "/tmp"], "overlaps"),
        (["scan", "/tmp", "--bundle", "/nowhere"], "no bundle at /nowhere"),
        (["run", "-c", "/nowhere/config.yaml"], "config.example.yaml"),
        (["scan"], "Missing argument"),
        (["frobnicate"], "No such command"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_do(arguments: list[str], message: str) -> None:
    done = twinwatch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
