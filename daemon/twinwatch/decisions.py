"""What a person decides about copies: restore, dismiss, resume; and rebuilding the catalogue. Plain values out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twinwatch.catalog import Case, Catalog
from twinwatch.config import Settings
from twinwatch.duplog import DuplicatesLog, entry_of, now
from twinwatch.errors import CatalogError, ConfigError, QuarantineError
from twinwatch.quarantine import Quarantine, Record
from twinwatch.recovery import note_restored, reconcile
from twinwatch.roots import AwayError, recognise
from twinwatch.state import StateFolder


@dataclass(frozen=True, slots=True)
class Restoration:
    """What became of one restore: where the file is now (absolute), or why it is still in quarantine."""

    id: str
    path: bytes
    error: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """One file in quarantine and the root it belongs to."""

    root: Path
    record: Record


def held(settings: Settings) -> list[Held]:
    """Return what lies in quarantine now, by its own records, oldest first."""
    found = [
        Held(watch.path, record)
        for watch in settings.watch
        for record in Quarantine(watch.path).records()
        if record.state in ("quarantined", "restoring")
    ]
    return sorted(found, key=lambda item: (item.record.intended_at, item.record.id))


def chosen(items: list[Held], ids: Iterable[str]) -> list[Held]:
    """Return the files that ids, or the unambiguous beginnings of ids, name. Raises ConfigError for any other."""
    picked = []
    for wanted in ids:
        matching = [item for item in items if item.record.id.startswith(wanted)]
        if len(matching) != 1:
            found = "names several files" if matching else "is not in quarantine"
            raise ConfigError(f"{wanted} {found}; `twinwatch list` shows the ids")
        picked += matching
    return picked


def restore(settings: Settings, items: Iterable[Held], catalog: Catalog | None) -> list[Restoration]:
    """Put files back. Works from the quarantine's records alone; `catalog` is None where it is lost."""
    log = DuplicatesLog(settings.duplicates_log)
    done = []
    for item in items:
        home = os.fsencode(item.root) + b"/"
        case = None if catalog is None else catalog.case(item.record.id)
        if catalog is not None and case is not None:
            # Before the file is back: a daemon that runs beside must not move it again.
            catalog.set_case(case.id, state="restoring")
            catalog.commit()
        try:
            restored = Quarantine(item.root).restore(item.record.id)
        except QuarantineError as error:
            done.append(Restoration(item.record.id, home + item.record.path, str(error)))
            if catalog is not None and case is not None:
                catalog.set_case(case.id, state=case.state)
                catalog.commit()
            continue
        done.append(Restoration(item.record.id, home + restored.path))
        if catalog is not None and case is not None:
            root = recognise(item.root, catalog, time.time_ns(), starting=True)
            note_restored(catalog, item.root, root, case, restored.path)
            _log_now(catalog, log, case.id)
    log.close()
    return done


def dismiss(settings: Settings, catalog: Catalog, wanted: str) -> tuple[Case, Restoration | None]:
    """Remember that a verdict was wrong, by content; a quarantined file is put back. Raises ConfigError."""
    matching = [case for case in catalog.cases() if case.id.startswith(wanted)]
    if len(matching) != 1:
        found = "names several verdicts" if matching else "is not a known verdict"
        raise ConfigError(f"{wanted} {found}; `twinwatch list --all` shows the ids")
    case = matching[0]
    catalog.dismiss(case.sha256, case.original_sha256, now())
    catalog.commit()
    restoration = None
    if case.action == "quarantined" and case.state == "done":
        items = [item for item in held(settings) if item.record.id == case.id]
        restoration = next(iter(restore(settings, items, catalog)), None)
        if restoration is not None and restoration.error:
            return case, restoration
    if case.file_id is not None and case.state != "dismissed":
        catalog.set_file(case.file_id, state="kept")
    catalog.set_case(case.id, state="dismissed")
    log = DuplicatesLog(settings.duplicates_log)
    _log_now(catalog, log, case.id)
    log.close()
    return case, restoration


def resume(catalog: Catalog, path: Path | None) -> list[tuple[str, str]]:
    """Let quarantine work again where a fault had switched it off; return (path, reason) of what was cleared."""
    cleared = []
    for root in catalog.roots(path):
        if root.latched:
            catalog.set_root(root.id, latched=None, latched_at=None)
            cleared.append((os.fsdecode(root.path), root.latched))
    catalog.commit()
    return cleared


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild could take over; `aside` is where the old catalogue lies, if there was one."""

    aside: Path | None
    dismissals: int
    dismissals_lost: bool
    quarantined: int


def rebuild(settings: Settings, state: StateFolder) -> Rebuilt:
    """Start a new catalogue from the quarantine's records; the folders are taken in at the daemon's next start.

    The caller holds the state. Dismissals are taken over from the old catalogue where it can still be read.
    """
    dismissals, lost = _old_dismissals(state.catalog_path)
    aside = _put_aside(state.catalog_path)
    catalog = Catalog(state.catalog_path)
    catalog.make_durable()
    for sha256, other, when in dismissals:
        catalog.dismiss(sha256, other, when)
    catalog.commit()
    for watch in settings.watch:
        try:
            root = recognise(watch.path, catalog, time.time_ns(), starting=True)
            reconcile(Quarantine(watch.path), watch.path, root, catalog)
        except (AwayError, QuarantineError):
            continue  # it has no quarantine, or is not there; it is taken in when it is
    quarantined = len(catalog.cases(state="done"))
    catalog.commit()
    catalog.close()
    return Rebuilt(aside, len(dismissals), lost, quarantined)


def open_catalog_if_sound(state: StateFolder) -> Catalog | None:
    """Return the catalogue, or None where it is missing or damaged."""
    if not state.catalog_path.exists():
        return None
    try:
        return Catalog(state.catalog_path)
    except CatalogError:
        return None


def _log_now(catalog: Catalog, log: DuplicatesLog, case_id: str) -> None:
    case = catalog.case(case_id)
    assert case is not None  # it was read a moment ago
    # Noted as logged first, so that a daemon that runs beside does not write the same line.
    catalog.set_case(case_id, logged=case.state)
    catalog.commit()
    log.append(entry_of(case))


def _old_dismissals(path: Path) -> tuple[list[tuple[str, str, str]], bool]:
    if not path.exists():
        return [], False
    try:
        old = Catalog(path)
        found = old.dismissals()
        old.close()
    except CatalogError:
        return [], True
    return found, False


def _put_aside(path: Path) -> Path | None:
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
