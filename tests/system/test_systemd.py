"""The systemd unit, its installation, and the messages that the daemon sends to systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest
from paint import paint

from daemon_site import DAEMON, PATIENCE_S, Site, wait_for
from twinwatch.config import DEFAULT_PATH, Settings
from twinwatch.errors import BundleError, ConfigError, StateLockedError
from twinwatch.service.daemon import DRAIN_S

PROJECT = Path(__file__).parents[2]
UNITS = PROJECT / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


class Talk:
    """The socket on which a service manager listens. `heard` holds every message so far."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self.heard: list[str] = []
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(address))
        self._channel.settimeout(PATIENCE_S)

    def until(self, assignment: str) -> str:
        """Listen until a message with this assignment arrives, and return that message."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            self.heard.append(self._channel.recv(4096).decode())
            if any(line.startswith(assignment) for line in self.heard[-1].splitlines()):
                return self.heard[-1]
        raise AssertionError(f"{assignment} did not come: {self.heard}")

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    channel = Talk(tmp_path / "service-manager")
    yield channel
    channel.close()


@contextmanager
def daemon(site: Site, talk: Talk) -> Iterator[subprocess.Popen[bytes]]:
    """Start the daemon as systemd does: without capabilities or a way to new rights, and with a narrow umask."""
    narrow: list[str] = []
    if shutil.which("setpriv"):
        # Only root has a bounding set that it may empty, and only there does it matter.
        narrow = [
            "setpriv",
            "--no-new-privs",
            *(["--inh-caps=-all", "--bounding-set=-all"] * (os.geteuid() == 0)),
            "--",
        ]
    process = subprocess.Popen(
        [*narrow, *DAEMON, "run", "-c", str(site.config)],
        stderr=(site.home / "daemon.log").open("ab"),
        env={**os.environ, "NOTIFY_SOCKET": str(talk.address)},
        umask=0o027,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_daemon_keeps_systemd_informed_and_works_without_any_capability(site: Site, talk: Talk) -> None:
    with daemon(site, talk) as process:
        talk.until("READY=1")
        assert talk.heard[-1].splitlines()[1].startswith("STATUS=")
        talk.until("WATCHDOG=1")
        assert talk.until("STATUS=0 pictures known, 0 waiting")

        paint(1).save(site.share / "first.jpg")
        wait_for(lambda: site.judged().get("kept") == 1)
        shutil.copy(site.share / "first.jpg", site.share / "second.jpg")
        assert site.event_of(site.share / "second.jpg")["action"] == "quarantined"
        restored = site.run("restore", "--all")
        assert restored.returncode == 0, restored.stderr
        assert (site.share / "second.jpg").read_bytes() == (site.share / "first.jpg").read_bytes()

        process.send_signal(signal.SIGTERM)
        assert talk.until("STOPPING=1")
        assert process.wait(30) == 0


def test_a_reload_is_announced_with_its_time_and_ends_ready(site: Site, talk: Talk) -> None:
    with daemon(site, talk) as process:
        talk.until("READY=1")
        for settings in ({}, {"settle_seconds": 1}, {"settle_seconds": "soon"}):  # unchanged, changed, refused
            site.configure(**settings)
            before_us = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            message = talk.until("RELOADING=1")
            at_us = re.search(r"^MONOTONIC_USEC=(\d+)$", message, re.MULTILINE)
            assert at_us is not None
            assert before_us <= int(at_us[1]) <= time.monotonic_ns() // 1000
            talk.until("READY=1")
            talk.until("WATCHDOG=1")
        assert process.poll() is None


def test_a_log_that_was_rotated_is_left_alone_after_a_reload(site: Site, talk: Talk) -> None:
    with daemon(site, talk) as process:
        talk.until("READY=1")
        rotated = site.log_path.rename(site.log_path.with_suffix(".1"))
        process.send_signal(signal.SIGHUP)
        talk.until("RELOADING=1")
        talk.until("READY=1")
        paint(1).save(site.share / "first.jpg")
        wait_for(lambda: site.judged().get("kept") == 1)
        shutil.copy(site.share / "first.jpg", site.share / "second.jpg")
        site.event_of(site.share / "second.jpg")
        assert rotated.read_bytes() == b""
        assert site.log_path.stat().st_mode & 0o777 == 0o640


def unit(folder: Path, *drop_ins: str) -> Path:
    """Copy the unit into a folder, with these drop-ins. systemd-analyze can check it there without an installation."""
    text = (UNITS / "twinwatch.service").read_text()
    copy = folder / "twinwatch.service"
    copy.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    extra = folder / "twinwatch.service.d"
    extra.mkdir()
    for number, drop_in in enumerate(drop_ins):
        (extra / f"{number}.conf").write_text(drop_in)
    return copy


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # It loads drop-ins only for a unit that it finds by its path.
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *arguments, "./twinwatch.service"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


ROOTS = re.sub(r"^#(?=[A-Z]\w+=)", "", (UNITS / "roots.conf.example").read_text(), flags=re.MULTILINE)
CUDA = (UNITS / "cuda.conf").read_text()


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), (CUDA,), (ROOTS,), (CUDA, ROOTS)], ids=["plain", "cuda", "roots", "both"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    unit(tmp_path, *drop_ins)
    verdict = analyze(tmp_path, "verify")
    ours = [line for line in verdict.stderr.splitlines() if "twinwatch" in line]
    assert (verdict.returncode, ours) == (0, []), verdict.stderr


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), (CUDA,)], ids=["plain", "cuda"])
def test_the_unit_exposes_at_most_one_point_in_ten(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    unit(tmp_path, *drop_ins)
    verdict = analyze(tmp_path, "security", "--offline=true", "--no-pager", "--threshold=10")
    assert verdict.returncode == 0, verdict.stdout[-400:]


def test_the_unit_agrees_with_the_code() -> None:
    parsed = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capitals
    parsed.read(UNITS / "twinwatch.service")
    service = parsed["Service"]
    assert service["ExecStart"].endswith(f" run -c {DEFAULT_PATH}")
    assert service["StateDirectory"] == Settings.model_fields["state_dir"].default.name
    assert service["LogsDirectory"] == Settings.model_fields["duplicates_log"].default.parent.name
    assert service["ConfigurationDirectory"] == DEFAULT_PATH.parent.name
    never_again = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert never_again == {ConfigError.exit_code, BundleError.exit_code, StateLockedError.exit_code}
    assert int(service["TimeoutStopSec"]) > 2 * DRAIN_S


def make(target: str, destination: Path, *variables: str) -> str:
    done = subprocess.run(
        ["make", "-f", "systemd/install.mk", target, f"DESTDIR={destination}", *variables],
        cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@needs_make
def test_install_lays_everything_out_and_uninstall_takes_back_only_that(tmp_path: Path) -> None:
    make("install-files", tmp_path, "CUDA=1")
    assert files(tmp_path) == {
        "etc/logrotate.d/twinwatch",
        "etc/systemd/system/twinwatch.service.d/cuda.conf",
        "etc/twinwatch/config.yaml",
        "usr/local/bin/twinwatch",
        "usr/local/lib/systemd/system/twinwatch.service",
        "usr/local/lib/sysusers.d/twinwatch.conf",
        "usr/local/lib/tmpfiles.d/twinwatch.conf",
        "usr/local/share/doc/twinwatch/config.example.yaml",
        "usr/local/share/doc/twinwatch/cuda.conf",
        "usr/local/share/doc/twinwatch/roots.conf.example",
    }
    assert (tmp_path / "usr/local/bin/twinwatch").readlink() == Path("/opt/twinwatch/bin/twinwatch")
    kept = {
        "var/lib/twinwatch/catalog.db",
        "var/log/twinwatch/duplicates.jsonl",
        "etc/systemd/system/twinwatch.service.d/roots.conf",
        "opt/twinwatch/somebody-elses",
    }
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("kept")
    told = make("uninstall", tmp_path)
    assert files(tmp_path) == kept | {"etc/twinwatch/config.yaml"}
    for place in ("etc/twinwatch/config.yaml", "var/lib/twinwatch", "var/log/twinwatch"):
        assert f"{tmp_path}/{place}\n" in told


@needs_make
def test_an_upgrade_keeps_what_an_admin_edited_and_uninstall_too(tmp_path: Path) -> None:
    make("install-files", tmp_path, "CUDA=1")
    edited = ["etc/twinwatch/config.yaml", "etc/logrotate.d/twinwatch"]
    for name in edited:
        (tmp_path / name).write_text("mine")
    make("install-files", tmp_path, "CUDA=1")
    make("uninstall", tmp_path)
    assert [(tmp_path / name).read_text() for name in edited] == ["mine", "mine"]
    assert files(tmp_path) == set(edited)


@needs_make
def test_other_places_reach_the_unit_and_the_link(tmp_path: Path) -> None:
    make("install-files", tmp_path, "PREFIX=/usr", "APPDIR=/usr/lib/twinwatch")
    assert (
        "ExecStart=/usr/lib/twinwatch/bin/twinwatch run"
        in (tmp_path / "usr/lib/systemd/system/twinwatch.service").read_text()
    )
    assert (tmp_path / "usr/bin/twinwatch").readlink() == Path("/usr/lib/twinwatch/bin/twinwatch")


@needs_make
def test_without_systemd_install_says_what_it_left_out(tmp_path: Path) -> None:
    parts = ["-o", "install-app", "-o", "install-files"]  # only the last step, which touches nothing here
    command = ["make", "-f", "systemd/install.mk", *parts, "install", f"BOOTED={tmp_path}/none"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "sudo systemd-sysusers /usr/local/lib/sysusers.d/twinwatch.conf\n" in done.stdout
    assert "sudo systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/twinwatch.conf\n" in done.stdout


def test_the_check_is_called_in_one_way_everywhere() -> None:
    for name in ("README.md", "config.example.yaml", "systemd/install.mk", "systemd/roots.conf.example"):
        text = (PROJECT / name).read_text()
        assert "sudo twinwatch check" in text, name
        assert "sudo -u twinwatch" not in text, name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the Makefile beside half a virtual environment, as an interrupted deletion leaves it."""
    shutil.copy(PROJECT / "Makefile", tmp_path)
    shutil.copytree(UNITS, tmp_path / "systemd")
    for name in ("pyproject.toml", "constraints.txt", ".venv/bin/python", ".venv/.run"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\necho pip requires a virtual environment: $PIP_REQUIRE_VIRTUALENV\n")
        (tmp_path / name).chmod(0o755)
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))  # what is made next may come in the same clock tick
    return tmp_path


@needs_make
def test_half_a_virtual_environment_is_made_anew_and_installed_into_again(checkout: Path) -> None:
    target = f"{checkout}/.venv/.run"
    command = ["make", target, f"PYTHON=touch {checkout}/.venv/pyvenv.cfg; echo making one:"]
    for expected in (["making one: -m venv", "virtual environment: 1"], ["is up to date"]):
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        for words in expected:
            assert words in done.stdout


@needs_make
def test_a_clean_that_is_cut_short_leaves_no_virtual_environment(checkout: Path) -> None:
    (checkout / "bin").mkdir()
    (checkout / "bin" / "rm").write_text('#!/bin/sh\nfor last; do :; done\ntest ! -e "$last"\n')
    (checkout / "bin" / "rm").chmod(0o755)
    (checkout / "example").mkdir()
    environment = {**os.environ, "PATH": f"{checkout}/bin:{os.environ['PATH']}"}
    command = ["make", "clean"]
    cut = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert cut.returncode != 0
    assert not (checkout / ".venv").exists()
    assert (checkout / ".venv.old" / "bin" / "python").exists()
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".venv.old").exists()
    assert not (checkout / "example").exists()
