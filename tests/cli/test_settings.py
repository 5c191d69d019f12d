"""Commands run by a user who does not own the state folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from daemon_site import COMMAND, Site


def as_another_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who does not own /usr."""
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    command = [*other, *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="no setpriv here")
@pytest.mark.parametrize("command", ["list", "status", "check"])
def test_another_user_is_told_whose_state_it_is(site: Site, command: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        config = Path(folder, "config.yaml")
        site.configure(state_dir="/usr", duplicates_log="/root/log/duplicates.jsonl", watch=[{"path": folder}])
        shutil.copyfile(site.config, config)
        done = as_another_user(command, "-c", str(config))
    assert "/usr belongs to the user root, and " in done.stdout + done.stderr
    assert "use sudo, or do this as root" in done.stdout + done.stderr
    assert done.returncode == (1 if command == "check" else 2)
    assert "Errno" not in done.stdout + done.stderr
