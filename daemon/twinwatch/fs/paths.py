"""Paths as bytes, relative to a watched root: how they are split and joined, and which of them are our own."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_FOLDER = b".twinwatch"
"""The folder of ours beneath a watched root. It is never scanned, and nothing in it is anybody's original."""
COOKIE_PREFIX = PRIVATE_FOLDER + b"/cookie-"
"""How the paths of cookies begin, relative to their root: files made to see whether events still come."""


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return the parent folder (b"" is the root) and the name."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def join(root: bytes | Path, path: bytes) -> bytes:
    """Return the absolute path of what lies at `path` beneath `root`."""
    return os.fsencode(root).rstrip(b"/") + b"/" + path
