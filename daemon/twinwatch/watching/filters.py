"""Which files and folders are looked at, by their names. What a file really holds is decided when it is opened."""

from __future__ import annotations

import fnmatch
import os
import re


class PathFilter:
    """Include and exclude patterns (fnmatch), without regard to case. Paths are relative to the root.

    A file is wanted if its name matches an include pattern, and neither its name nor its path matches an exclude
    pattern. A folder is wanted unless its name or path matches an exclude pattern.
    """

    def __init__(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include = _pattern(include)
        self._exclude = _pattern(exclude)

    def wants(self, path: bytes) -> bool:
        """True if the file at a path is wanted."""
        folder, _, name = os.fsdecode(path).rpartition("/")
        return self.wants_in(folder, name)

    def wants_in(self, folder: str, name: str) -> bool:
        """True if the file `name` in `folder` is wanted, both decoded by `os.fsdecode`."""
        return self._include is not None and self._include.match(name) is not None and not self._excludes(folder, name)

    def wants_folder(self, path: bytes) -> bool:
        """True if the folder at a path is wanted."""
        folder, _, name = os.fsdecode(path).rpartition("/")
        return not self._excludes(folder, name)

    def _excludes(self, folder: str, name: str) -> bool:
        if self._exclude is None:
            return False
        path = f"{folder}/{name}" if folder else name
        return any(self._exclude.match(text) for text in (name, path))


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    if not globs:
        return None
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs), re.IGNORECASE)
