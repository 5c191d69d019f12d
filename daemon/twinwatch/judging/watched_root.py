"""A watched root as judgement sees it: where it is, what may be done there, and what is there just now."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from twinwatch.fs import TRANSIENT_ERRNOS, FileIdentity, folder_id, stat_beneath
from twinwatch.judging.circuit_breaker import CircuitBreaker
from twinwatch.quarantine import Quarantine
from twinwatch.wording import show_path
from twinwatch.workers import FileRef


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """One watched root. `quarantine` is None where nothing may be moved, and `why_not` says why."""

    path: Path
    folder: tuple[int, int]
    protect: bool
    quarantine: Quarantine | None = None
    why_not: str = ""
    brake: CircuitBreaker = field(default_factory=CircuitBreaker)

    def place(self, path: bytes) -> FileRef:
        return FileRef(self.path, self.folder, path)

    def look(self, path: bytes) -> FileIdentity | None:
        """Return what is at a path beneath the root, None where nothing can be seen there.

        Raises OSError where that cannot be told now, for want of descriptors or memory.
        """
        try:
            return stat_beneath(self.path, path)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            return None

    def unchanged(self, path: bytes, identity: FileIdentity) -> FileIdentity | None:
        """Return what is at a path if its bytes are still those that had this identity. Raises what `look` raises."""
        there = self.look(path)
        return there if there is not None and there.same_bytes_as(identity) else None

    def stands(self) -> bool:
        """True while the root is the folder that it was."""
        try:
            return folder_id(self.path) == self.folder
        except OSError:
            return False

    def show(self, path: bytes) -> str:
        """Return a path beneath the root as a person reads it."""
        return show_path(os.fsencode(self.path) + b"/" + path)
