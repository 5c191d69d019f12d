"""A person closes a circuit breaker: quarantine works again where a fault had switched it off."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.errors import ConfigError
from twinwatch.store import Action, Store, VerdictState


@dataclass(frozen=True, slots=True)
class Resumed:
    """A folder whose quarantine works again, why it was off, and how many copies were only flagged meanwhile."""

    path: str
    reason: str
    flagged: int


def resume_roots(settings: Settings, store: Store, path: Path | None) -> list[Resumed]:
    """Let quarantine work again in one watched folder, or in all; return where it was off.

    Raises ConfigError for a path that is not watched.
    """
    if path is not None and path not in [watch.path for watch in settings.watch]:
        watched = ", ".join(str(watch.path) for watch in settings.watch)
        raise ConfigError(f"{path} is not a watched folder; those are {watched}")
    resumed = []
    for root in store.roots.all(path):
        if root.tripped:
            verdicts = store.verdicts.all(state=VerdictState.DONE, since=root.tripped_at)
            flagged = sum(each.root == root.path and each.action is Action.FLAGGED for each in verdicts)
            store.roots.resume(root.id)
            resumed.append(Resumed(os.fsdecode(root.path), root.tripped, flagged))
    store.commit()
    return resumed
