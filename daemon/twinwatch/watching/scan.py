"""Walks a root and compares it with the catalogue: the truth that events only hint at.

It follows no links, looks at names and facts only, and reads no file. A root that is not the folder it was is away:
nothing in it is believed to be deleted.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twinwatch.config import Watch
from twinwatch.fs import PRIVATE_FOLDER, FileIdentity, StatTuple, folder_id, open_folder, open_root, stat_tuple
from twinwatch.store import Catalog, File, Root


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that the catalogue does not know, or knows otherwise."""

    path: bytes
    seen: FileIdentity


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one walk came to. `away` says why the root could not be believed; then nothing counts as gone."""

    files: int
    folders: int
    gone: list[File]
    away: str = ""


class PathFilter:
    """Which names are looked at: include and exclude patterns, without regard to case; content decides in the end."""

    def __init__(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include = _pattern(include)
        self._exclude = _pattern(exclude)

    def wants(self, path: bytes) -> bool:
        """True if the file's name is included, and neither its name nor its path is excluded."""
        folder, _, name = os.fsdecode(path).rpartition("/")
        return self.wants_in(folder, name)

    def wants_in(self, folder: str, name: str) -> bool:
        """The same of a file in a folder, both as `os.fsdecode` has them."""
        return self._include is not None and self._include.match(name) is not None and not self._excludes(folder, name)

    def wants_folder(self, path: bytes) -> bool:
        folder, _, name = os.fsdecode(path).rpartition("/")
        return not self._excludes(folder, name)

    def _excludes(self, folder: str, name: str) -> bool:
        if self._exclude is None:
            return False
        path = f"{folder}/{name}" if folder else name
        return any(self._exclude.match(text) for text in (name, path))


def scan_root(
    watch: Watch, root: Root, catalog: Catalog, report: Callable[[ChangedFile], None], stop: Callable[[], bool]
) -> ScanResult:
    """Walk one root; hand every new or changed file to `report`, which may wait; return what is gone.

    A walk that `stop` ended early, or whose root changed under it, reports nothing as gone.
    """
    try:
        root_fd = open_root(watch.path)
    except OSError as error:
        return ScanResult(0, 0, [], f"{error.strerror}")
    try:
        status = os.fstat(root_fd)
        if (status.st_dev, status.st_ino) != root.folder:
            return ScanResult(0, 0, [], "another folder is in its place")
        return _walk(watch, root, catalog, report, stop, root_fd)
    finally:
        os.close(root_fd)


def _walk(
    watch: Watch,
    root: Root,
    catalog: Catalog,
    report: Callable[[ChangedFile], None],
    stop: Callable[[], bool],
    root_fd: int,
) -> ScanResult:
    names = PathFilter(watch.include, watch.exclude)
    count, visited, unread = 0, set[bytes](), set[bytes]()
    missing: list[File] = []
    for folder, entries in _folders(root_fd, names, watch.recursive, unread):
        known = catalog.facts_in(root.id, folder)
        visited.add(folder)
        count += len(entries)
        if stop():
            return ScanResult(count, len(visited), [])
        if entries == known:
            continue
        for name, facts in entries.items():
            if known.pop(name, None) != facts:
                report(ChangedFile(folder + b"/" + name if folder else name, FileIdentity(*facts)))
                if stop():
                    return ScanResult(count, len(visited), [])
        if known:
            there = catalog.files_in(root.id, folder).items()
            missing += [file for name, file in there if name in known and file.identity == FileIdentity(*known[name])]
    for folder in catalog.folders(root.id):
        if folder not in visited and not _beneath(folder, unread):
            missing += catalog.files_in(root.id, folder).values()
    try:
        still = folder_id(watch.path) == (os.fstat(root_fd).st_dev, os.fstat(root_fd).st_ino)
    except OSError as error:
        return ScanResult(count, len(visited), [], f"{error.strerror}")
    if not still:
        return ScanResult(count, len(visited), [], "another folder took its place during the scan")
    return ScanResult(count, len(visited), missing)


def _folders(
    root_fd: int, names: PathFilter, recursive: bool, unread: set[bytes]
) -> Iterator[tuple[bytes, dict[bytes, StatTuple]]]:
    """Yield each folder with the facts, by name, of its wanted regular files; note in `unread` what would not open."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            folder_fd = open_folder(root_fd, folder)
        except FileNotFoundError:
            continue
        except OSError:
            unread.add(folder)
            continue
        try:
            entries, below = _entries(folder_fd, folder, names)
        except OSError:
            unread.add(folder)
            continue
        finally:
            os.close(folder_fd)
        if recursive:
            pending += below
        yield folder, entries


def _entries(folder_fd: int, folder: bytes, names: PathFilter) -> tuple[dict[bytes, StatTuple], list[bytes]]:
    found: dict[bytes, StatTuple] = {}
    below: list[bytes] = []
    folder_text = os.fsdecode(folder)
    with os.scandir(folder_fd) as listing:
        for entry in listing:
            if entry.is_dir(follow_symlinks=False):
                name = os.fsencode(entry.name)
                path = folder + b"/" + name if folder else name
                if name != PRIVATE_FOLDER and names.wants_folder(path):
                    below.append(path)
            elif names.wants_in(folder_text, entry.name):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found[os.fsencode(entry.name)] = stat_tuple(status)
    return found, below


def _beneath(folder: bytes, unread: set[bytes]) -> bool:
    parts = folder.split(b"/")
    return any(b"/".join(parts[:depth]) in unread for depth in range(len(parts) + 1))


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    if not globs:
        return None
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs), re.IGNORECASE)
