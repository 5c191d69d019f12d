"""Starting the catalogue anew from the quarantine's records and the folders."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from twinwatch.config import Settings
from twinwatch.errors import CatalogError, QuarantineError
from twinwatch.quarantine import Quarantine
from twinwatch.review.recovery import reconcile
from twinwatch.store import Dismissal, Root, RootOfflineError, open_store, resolve_root


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild could take over; `aside` is where the old catalogue lies, if there was one.

    `offline` are the folders that were not there, and why: their quarantine is taken in when they are.
    """

    aside: Path | None
    dismissals: int
    dismissals_lost: bool
    quarantined: int
    offline: list[str]


@dataclass(frozen=True, slots=True)
class _Old:
    """What the old catalogue held; `used` is False where there was none, or one that a command only made."""

    used: bool = False
    sound: bool = True
    roots: list[Root] = field(default_factory=list)
    dismissals: list[Dismissal] = field(default_factory=list)


def rebuild_catalog(settings: Settings, path: Path) -> Rebuilt:
    """Start a new catalogue at `path`; the folders are taken in when the daemon starts next.

    The caller holds the state folder's lock. Dismissals are taken over where the old catalogue can still be read.
    """
    old = _read_old(path)
    aside = _put_aside(path) if old.used else None
    store = open_store(path)
    store.make_durable()
    for each in old.dismissals:
        store.dismissals.add(each.one, each.other, each.time)
    store.commit()
    offline = []
    for watch in settings.watch:
        try:
            root = resolve_root(watch.path, store, time.time_ns(), starting=True)
            reconcile(Quarantine(watch.path), watch.path, root, store)
        except RootOfflineError as error:
            offline.append(str(error))
            for known in reversed(old.roots):
                if known.path == os.fsencode(watch.path):
                    store.roots.add(watch.path, known.folder, time.time_ns())
        except QuarantineError:
            continue  # it has no quarantine
    quarantined = store.verdicts.quarantined_count()
    store.commit()
    store.close()
    return Rebuilt(aside, len(old.dismissals), not old.sound, quarantined, offline)


def _read_old(path: Path) -> _Old:
    if not path.exists():
        return _Old()
    try:
        store = open_store(path)
    except CatalogError:
        return _Old(used=True, sound=False)
    try:
        roots, dismissals = store.roots.all(), store.dismissals.all()
    except CatalogError:
        return _Old(used=True, sound=False)
    finally:
        store.close()
    return _Old(bool(roots or dismissals), True, roots, dismissals)


def _put_aside(path: Path) -> Path | None:
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
