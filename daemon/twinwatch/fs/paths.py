"""Paths as bytes, relative to a watched root: how they are split and joined, and which of them are twinwatch's own."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_FOLDER = b".twinwatch"
"""The name of twinwatch's own folder beneath a watched root. It is never scanned and holds no originals."""
COOKIE_PREFIX = PRIVATE_FOLDER + b"/cookie-"
"""The start of a cookie's path, relative to its root. A cookie is a file created to test whether events arrive."""


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return the parent folder and the name. The folder is b"" for a path directly beneath the root."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def join(folder: bytes | Path, path: bytes) -> bytes:
    """Return the path of what lies at `path` beneath `folder`; b"" as the folder gives `path` itself.

    `folder` is a root or a folder beneath one, so that `join(*split(path))` is `path`. Unlike `os.path.join`, it keeps
    the folder even where `path` begins with a slash.
    """
    base = os.fsencode(folder)
    return base.rstrip(b"/") + b"/" + path if base else path
