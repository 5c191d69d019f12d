"""What the fault tests with a real daemon share: tiny pictures, where files are by now, and a reload."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from daemon_site import Site, wait_for
from twinwatch.quarantine import Quarantine, Record


def plain(number: int) -> bytes:
    """Return a BMP of 16 pixels in one colour. Each number gives another colour; all have one size in bytes.

    The daemon takes no two of them for copies, as uniform pictures count as copies only if their bytes are equal.
    """
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number >> 16 & 255, number >> 8 & 255, number & 255)).save(file, "BMP")
    return file.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def paths(folder: Path) -> set[bytes]:
    """Return the path of each file beneath a folder, relative to it, except those in quarantine."""
    top = os.fsencode(folder)
    found = set()
    for parent, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name != b".twinwatch"]
        found.update(os.path.join(parent, name).removeprefix(top + b"/") for name in names)
    return found


def tree(folder: Path) -> dict[bytes, bytes]:
    """Return the bytes of each file beneath a folder by relative path, except those in quarantine.

    No file may vanish meanwhile.
    """
    found = {}
    for path in paths(folder):
        with open(os.path.join(os.fsencode(folder), path), "rb") as file:  # noqa: PTH123  pathlib takes no bytes
            found[path] = file.read()
    return found


def held(root: Path) -> list[Record]:
    """Return the records of the files that lie in a root's quarantine."""
    return [record for record in Quarantine(root).records() if record.state == "quarantined"]


def held_bytes(root: Path, record: Record) -> bytes:
    return (root / ".twinwatch/quarantine/files" / record.id).read_bytes()


@contextlib.contextmanager
def running(site: Site) -> Iterator[Site]:
    """Start a site's daemon, and kill it at the end of the block."""
    site.start()
    try:
        yield site
    finally:
        site.end()


def reload(site: Site, answer: str) -> str:
    """Let the daemon reload its configuration; return the line of its log that contains `answer`."""
    assert site.process is not None
    told = len(site.stderr.splitlines())
    site.process.send_signal(signal.SIGHUP)
    (line,) = wait_for(lambda: [line for line in site.stderr.splitlines()[told:] if answer in line])
    return str(line)
