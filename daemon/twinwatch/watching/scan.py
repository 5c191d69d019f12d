"""Scans a root: walks it and compares what is there with the catalogue. The scan is the truth that events hint at.

It follows no links, looks at names and stats only, and reads no file. A root that is not the folder it was is offline:
nothing in it is believed to be deleted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twinwatch.config import Watch
from twinwatch.fs import PRIVATE_FOLDER, FileIdentity, StatTuple, folder_id, open_folder, open_root, stat_tuple
from twinwatch.store import File, Root, Store
from twinwatch.watching.filters import PathFilter


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that is new to the catalogue, or whose stat differs from it. `path` is relative to the root."""

    path: bytes
    seen: FileIdentity


@dataclass(frozen=True, slots=True)
class ScanResult:
    """How many wanted files and folders a scan met, and which known files are gone.

    `offline_reason` says why the scan cannot be trusted, empty if it can; then nothing counts as gone.
    """

    files: int
    folders: int
    gone: list[File]
    offline_reason: str = ""


def scan_root(
    watch: Watch, root: Root, store: Store, report: Callable[[ChangedFile], None], stop: Callable[[], bool]
) -> ScanResult:
    """Walk one root. Calls `report` with every new or changed file, and `stop` after each folder and file.

    `report` may wait. A walk that `stop` ended early, or whose root was replaced meanwhile, reports nothing as gone.
    """
    try:
        root_fd = open_root(watch.path)
    except OSError as error:
        return ScanResult(0, 0, [], f"{error.strerror}")
    try:
        status = os.fstat(root_fd)
        if (status.st_dev, status.st_ino) != root.folder:
            return ScanResult(0, 0, [], "another folder is in its place")
        return _Walk(watch, root, store, report, stop).run(root_fd)
    finally:
        os.close(root_fd)


class _Walk:
    """One walk through a root, which has been opened."""

    def __init__(
        self,
        watch: Watch,
        root: Root,
        store: Store,
        report: Callable[[ChangedFile], None],
        stop: Callable[[], bool],
    ) -> None:
        self._watch = watch
        self._root = root
        self._store = store
        self._report = report
        self._stop = stop
        self._files = 0
        self._visited: set[bytes] = set()
        self._unread: set[bytes] = set()

    def run(self, root_fd: int) -> ScanResult:
        gone: list[File] = []
        names = PathFilter(self._watch.include, self._watch.exclude)
        for folder, entries in _walk_folders(root_fd, names, self._watch.recursive, self._unread):
            self._visited.add(folder)
            self._files += len(entries)
            gone_here = None if self._stop() else self._compare(folder, entries)
            if gone_here is None:
                return self._result([])
            gone += gone_here
        gone += self._in_vanished_folders()
        try:
            still_there = folder_id(self._watch.path) == self._root.folder
        except OSError as error:
            return self._result([], f"{error.strerror}")
        if not still_there:
            return self._result([], "another folder took its place during the scan")
        return self._result(gone)

    def _compare(self, folder: bytes, entries: dict[bytes, StatTuple]) -> list[File] | None:
        """Report what is new or changed in one folder. Return the known files that are gone, None when stopped."""
        known = self._store.files.stats_in(self._root.id, folder)
        if entries == known:
            return []
        for name, seen in entries.items():
            if known.pop(name, None) != seen:
                self._report(ChangedFile(folder + b"/" + name if folder else name, FileIdentity(*seen)))
                if self._stop():
                    return None
        if not known:
            return []
        files = self._store.files.in_folder(self._root.id, folder)
        # What has changed in the store since it was compared was judged meanwhile, and is not gone.
        return [file for name, file in files.items() if name in known and file.identity == FileIdentity(*known[name])]

    def _in_vanished_folders(self) -> list[File]:
        """Return the files of known folders that were not visited, except beneath folders that could not be read."""
        gone: list[File] = []
        for folder in self._store.files.folders(self._root.id):
            if folder not in self._visited and not _is_beneath(folder, self._unread):
                gone += self._store.files.in_folder(self._root.id, folder).values()
        return gone

    def _result(self, gone: list[File], offline_reason: str = "") -> ScanResult:
        return ScanResult(self._files, len(self._visited), gone, offline_reason)


def _walk_folders(
    root_fd: int, names: PathFilter, recursive: bool, unread: set[bytes]
) -> Iterator[tuple[bytes, dict[bytes, StatTuple]]]:
    """Yield each folder with the stats, by name, of its wanted regular files. Adds unreadable folders to `unread`."""
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
            entries, below = _list_folder(folder_fd, folder, names)
        except OSError:
            unread.add(folder)
            continue
        finally:
            os.close(folder_fd)
        if recursive:
            pending += below
        yield folder, entries


def _list_folder(folder_fd: int, folder: bytes, names: PathFilter) -> tuple[dict[bytes, StatTuple], list[bytes]]:
    """Return the stats, by name, of the wanted regular files in one folder, and the paths of its wanted folders."""
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


def _is_beneath(folder: bytes, others: set[bytes]) -> bool:
    """True if a folder is one of the others or lies in one of them. b"" is the root, which all lie in."""
    parts = folder.split(b"/")
    return any(b"/".join(parts[:depth]) in others for depth in range(len(parts) + 1))
