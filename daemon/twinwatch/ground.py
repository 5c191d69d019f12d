"""A watched root as judgement sees it: where it is, what may be done there, and what is there just now."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from twinwatch.brake import Brake
from twinwatch.phrases import show_path
from twinwatch.quarantine import Quarantine
from twinwatch.reader import WANTS, Identity, folder_of, look_beneath
from twinwatch.tasks import Place


@dataclass(frozen=True, slots=True)
class Ground:
    """One watched root. `quarantine` is None where nothing may be moved, and `why_not` says why."""

    path: Path
    folder: tuple[int, int]
    protect: bool
    quarantine: Quarantine | None = None
    why_not: str = ""
    brake: Brake = field(default_factory=Brake)

    def place(self, path: bytes) -> Place:
        return Place(self.path, self.folder, path)

    def look(self, path: bytes) -> Identity | None:
        """Return what is at a path beneath the root, None where nothing can be seen there.

        Raises OSError where that cannot be told now, for want of descriptors or memory.
        """
        try:
            return look_beneath(self.path, path)
        except OSError as error:
            if error.errno in WANTS:
                raise
            return None

    def unchanged(self, path: bytes, identity: Identity) -> Identity | None:
        """Return what is at a path if its bytes are still those that had this identity. Raises what `look` raises."""
        there = self.look(path)
        return there if there is not None and there.same_bytes_as(identity) else None

    def stands(self) -> bool:
        """True while the root is the folder that it was."""
        try:
            return folder_of(self.path) == self.folder
        except OSError:
            return False

    def show(self, path: bytes) -> str:
        """Return a path beneath the root as a person reads it."""
        return show_path(os.fsencode(self.path) + b"/" + path)
