"""The state folder: locked by one process at a time, and never on a network file system."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinwatch.errors import ConfigError, StateLockedError
from twinwatch.fs.mounts import Mount
from twinwatch.service import StateFolder, state

HOLDER = """
import sys
from pathlib import Path
from twinwatch.service import StateFolder
with StateFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the state until its input ends."""
    command = (sys.executable, "-c", HOLDER, str(tmp_path / "state"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_it_is_made_where_missing(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "a" / "b")
    assert folder.path.is_dir()
    assert folder.path.stat().st_mode & 0o007 == 0
    assert folder.catalog_path == tmp_path / "a" / "b" / "catalog.db"


def test_another_process_is_refused_and_named(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    folder = StateFolder(tmp_path / "state")
    with pytest.raises(StateLockedError, match=rf"process {holder.pid}\) holds") as caught, folder.lock():
        pass
    assert caught.value.exit_code == 3
    assert folder.lock_owner() == holder.pid


def test_the_kernel_frees_it_when_the_holder_is_killed(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    folder = StateFolder(tmp_path / "state")
    assert folder.lock_owner() is None
    with folder.lock():
        assert folder.lock_owner() == os.getpid()
    assert folder.lock_owner() is None


def test_an_exception_while_it_is_held_frees_it(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    with folder.lock():
        pass


def test_a_longer_process_id_leaves_no_digits_behind(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789012\n")
    folder = StateFolder(tmp_path)
    with folder.lock():
        assert folder.lock_owner() == os.getpid()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "mount_of", lambda _path: Mount(Path("/srv"), "nfs4"))
    with pytest.raises(ConfigError, match=r"state_dir: .*network file system \(nfs4\)"):
        StateFolder(tmp_path)


def test_a_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_dir: cannot make"):
        StateFolder(tmp_path / "file" / "state")
    with pytest.raises(ConfigError, match="state_dir: "):
        StateFolder(tmp_path / "file")


def test_a_place_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as for a user that is not root
    owner = pwd.getpwuid(tmp_path.stat().st_uid).pw_name
    with pytest.raises(ConfigError, match=rf"state_dir: .*belongs to the user {owner}.*use sudo"):
        StateFolder(tmp_path)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"precious")
    folder = StateFolder(tmp_path / "state")
    link(precious, folder.path / "lock")
    with pytest.raises((ConfigError, OSError)), folder.lock():
        pass
    assert precious.read_bytes() == b"precious"
