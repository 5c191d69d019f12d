"""What `run` refuses before the daemon starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon_site import COMMAND, Site


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settle_second": 2}, "settle_second: unknown key"),
        ({"watch": [{"path": "/nowhere"}]}, "watch[0].path: no such folder"),
        ({"watch": [{"path": "/tmp", "action": "delete"}]}, "watch[0].action:"),
        ({"limits": {"max_file_mb": -1}}, "limits.max_file_mb:"),
        ({"model": {"bundle": "/nowhere"}}, "no bundle at /nowhere"),
        ({"state_dir": "/proc/nowhere"}, "state_dir: cannot make"),
        ({"duplicates_log": "/proc/nowhere/x.jsonl"}, "duplicates_log: cannot write"),
    ],
)
def test_config_errors_exit_2_and_name_their_place(site: Site, changes: dict[str, object], message: str) -> None:
    site.configure(**changes)
    done = site.run("run")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(site.bundle, damaged)
    with (damaged / "encoder.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    site.configure(model={"bundle": str(damaged), "device": "cpu"})
    done = site.run("run")
    assert done.returncode == 2
    assert "expected sha256" in done.stderr


def test_unreadable_folder_is_refused(site: Site) -> None:
    # Root reads every folder, but not without these two capabilities.
    plain = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    site.share.chmod(0)
    done = subprocess.run(
        [*plain, *COMMAND, "run", "-c", str(site.config)], capture_output=True, text=True, timeout=60, check=False
    )
    site.share.chmod(0o755)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
