"""What a person decides about copies: restore, dismiss, resume; and rebuilding the catalogue. Plain values out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from twinwatch.clock import utc_now
from twinwatch.config import Settings
from twinwatch.errors import CatalogError, ConfigError, QuarantineError, StorageError
from twinwatch.fs import why_unusable
from twinwatch.quarantine import Quarantine, Record
from twinwatch.reporting import DuplicatesLog, flush_outbox
from twinwatch.review.recovery import reconcile, record_restored
from twinwatch.store import Catalog, Root, RootOfflineError, Verdict, resolve_root

_SHORTEST_ID = 4  # fewer may name another file than was meant
_KNOWN = ("quarantined", "restoring", "restored")  # of a record's states; in the others nothing was moved


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file that is, or was, in quarantine. `path` is where it belongs or, once it is `back`, where it went: absolute.

    `stuck` says why it cannot be put back now.
    """

    root: Path
    id: str
    path: bytes
    moved_at: str
    back: bool = False
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What became of one restore: where the file is now (absolute), or why it is still in quarantine.

    `note` says what could not be written down about a file that is back.
    """

    id: str
    path: bytes
    error: str = ""
    already: bool = False
    note: str = ""


def held(settings: Settings, catalog: Catalog | None) -> list[QuarantinedFile]:
    """Return all files that are, or were, in quarantine, by when they were moved.

    The quarantine's own records tell, and of a folder that is away, the catalogue, unless it is None. Raises
    QuarantineError.
    """
    found, seen = [], set[str]()
    for watch in settings.watch:
        records = [] if why_unusable(watch.path) else list(Quarantine(watch.path).records())
        seen.update(record.id for record in records)
        found += [_held(watch.path, record) for record in records if record.state in _KNOWN]
    for case in [] if catalog is None else catalog.cases.quarantined():
        if case.id not in seen:
            root = Path(os.fsdecode(case.root))
            place = os.path.join(case.root, case.path)
            found.append(QuarantinedFile(root, case.id, place, case.time, stuck=_why_stuck(settings, root)))
    return sorted(found, key=lambda item: (item.moved_at, item.id))


def moved_since(items: Iterable[QuarantinedFile], earliest: str = "") -> list[QuarantinedFile]:
    """Return what is still in quarantine and came there since an RFC 3339 time in UTC."""
    return [item for item in items if not item.back and item.moved_at >= earliest]


def chosen(items: list[QuarantinedFile], ids: Iterable[str], catalog: Catalog | None) -> list[QuarantinedFile]:
    """Return the files that ids, or the unambiguous beginnings of ids, name. Raises ConfigError for any other."""
    picked = []
    for wanted in ids:
        named = [item for item in items if _begins(item.id, wanted)]
        matching = moved_since(named) or named
        if len(matching) != 1:
            flagged = [] if catalog is None else [case for case in catalog.cases.all() if _begins(case.id, wanted)]
            unknown = (
                "was flagged only and lies where it was: there is nothing to put back"
                if flagged
                else "not in quarantine; `twinwatch list --quarantined` shows the ids"
            )
            raise ConfigError(_no_choice(wanted, len(matching), unknown))
        picked += matching
    return list(dict.fromkeys(picked))


def restore(settings: Settings, items: Iterable[QuarantinedFile], catalog: Catalog | None) -> list[RestoreResult]:
    """Put files back, each for itself: whatever goes wrong with one is that one's outcome.

    Works from the quarantine's records alone; `catalog` is None where it is lost.
    """
    return [_restore(settings, item, catalog) for item in items]


def verdicts(catalog: Catalog, ids: Iterable[str]) -> list[Verdict]:
    """Return the cases that ids, or the unambiguous beginnings of ids, name. Raises ConfigError for any other."""
    everything, picked = catalog.cases.all(), []
    for wanted in ids:
        matching = [case for case in everything if _begins(case.id, wanted)]
        if len(matching) != 1:
            raise ConfigError(_no_choice(wanted, len(matching), "no copy with this id; see `twinwatch list --all`"))
        picked += matching
    return list(dict.fromkeys(picked))


def dismiss(settings: Settings, catalog: Catalog, case: Verdict) -> tuple[RestoreResult | None, str]:
    """Remember that a verdict was wrong, by content; a quarantined file is put back.

    Raises StorageError where it cannot be remembered; then nothing was done.

    A case that was dismissed before is left alone. Returns also why the log could not be written, if so. Where the file
    cannot go back yet, the content is remembered, and a second call puts the file back.
    """
    if case.state == "dismissed":
        return None, ""
    catalog.cases.dismiss(case.sha256, case.original_sha256, utc_now())
    catalog.commit()
    restoration = None
    if case.action == "quarantined" and case.state == "done":
        items = [item for item in moved_since(held(settings, catalog)) if item.id == case.id]
        restoration = next(iter(restore(settings, items, catalog)), None)
        if restoration is not None and restoration.error:
            return restoration, ""
    file = None if case.file_id is None else catalog.file(case.file_id)
    # One that is gone may have left its name to another.
    if file is not None and file.state in ("duplicate", "restored"):
        catalog.set_file(file.id, state="kept")
    catalog.cases.set(case.id, state="dismissed", event_at=utc_now())
    catalog.commit()
    return restoration, _log_now(settings, catalog)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A folder whose quarantine works again, why it was off, and how many copies were flagged only meanwhile."""

    path: str
    reason: str
    flagged: int


def resume(settings: Settings, catalog: Catalog, path: Path | None) -> list[Resumed]:
    """Let quarantine work again where a fault had switched it off; return where it had.

    Raises ConfigError for a path that is not watched.
    """
    if path is not None and path not in [watch.path for watch in settings.watch]:
        watched = ", ".join(str(watch.path) for watch in settings.watch)
        raise ConfigError(f"{path} is not a watched folder; those are {watched}")
    cleared = []
    for root in catalog.roots(path):
        if root.latched:
            cases = catalog.cases.all(state="done", since=root.latched_at)
            flagged = sum(case.root == root.path and case.action == "flagged" for case in cases)
            catalog.set_root(root.id, latched=None, latched_at=None)
            cleared.append(Resumed(os.fsdecode(root.path), root.latched, flagged))
    catalog.commit()
    return cleared


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild could take over; `aside` is where the old catalogue lies, if there was one.

    `away` are the folders that were not there, and why: what lies in their quarantine is taken in when they are.
    """

    aside: Path | None
    dismissals: int
    dismissals_lost: bool
    quarantined: int
    away: list[str]


def rebuild(settings: Settings, catalog_path: Path) -> Rebuilt:
    """Start a new catalogue from the quarantine's records; the folders are taken in at the daemon's next start.

    The caller holds the state. Dismissals are taken over from the old catalogue where it can still be read.
    """
    old = _old(catalog_path)
    aside = _put_aside(catalog_path) if old.used else None
    catalog = Catalog(catalog_path)
    catalog.make_durable()
    for sha256, other, when in old.dismissals:
        catalog.cases.dismiss(sha256, other, when)
    catalog.commit()
    away = []
    for watch in settings.watch:
        try:
            root = resolve_root(watch.path, catalog, time.time_ns(), starting=True)
            reconcile(Quarantine(watch.path), watch.path, root, catalog)
        except RootOfflineError as error:
            away.append(str(error))
            for known in reversed(old.roots):
                if known.path == os.fsencode(watch.path):
                    catalog.add_root(watch.path, known.folder, time.time_ns())
        except QuarantineError:
            continue  # it has no quarantine
    quarantined = catalog.cases.quarantined_count()
    catalog.commit()
    catalog.close()
    return Rebuilt(aside, len(old.dismissals), not old.sound, quarantined, away)


def open_catalog_if_sound(path: Path) -> Catalog | None:
    """Return the catalogue, or None where it is missing or damaged, or cannot be had just now."""
    if not path.exists():
        return None
    try:
        return Catalog(path)
    except (CatalogError, StorageError):
        return None


def _held(root: Path, record: Record) -> QuarantinedFile:
    back = record.state == "restored"
    path = (record.restored_to or record.path) if back else record.path
    return QuarantinedFile(root, record.id, os.path.join(os.fsencode(root), path), record.intended_at, back)


def _why_stuck(settings: Settings, root: Path) -> str:
    if root not in [watch.path for watch in settings.watch]:
        return f"{root} is no longer watched; watch it again to restore from it"
    if why_unusable(root):
        return f"{root} is away; bring it back, then restore the file"
    return f"the quarantine of {root} does not hold it; is the right folder mounted there?"


def _begins(case_id: str, wanted: str) -> bool:
    return len(wanted) >= _SHORTEST_ID and case_id.startswith(wanted)


def _no_choice(wanted: str, count: int, unknown: str) -> str:
    if not wanted:
        return "an id may not be empty; `twinwatch list` shows the ids"
    if len(wanted) < _SHORTEST_ID:
        return f"{wanted}: give at least {_SHORTEST_ID} characters of an id; `twinwatch list` shows the ids"
    return f"{wanted}: {'several files have ids that begin so; give more of it' if count else unknown}"


def _restore(settings: Settings, item: QuarantinedFile, catalog: Catalog | None) -> RestoreResult:
    if item.back or item.stuck:
        return RestoreResult(item.id, item.path, item.stuck, already=item.back)
    case, note = (None, "") if catalog is None else _announce(catalog, item)
    try:
        restored = Quarantine(item.root).restore(item.id)
    except QuarantineError as error:
        if catalog is not None and case is not None:
            note = _withdraw(catalog, case)
        return RestoreResult(item.id, item.path, str(error), note=note)
    if catalog is not None and case is not None:
        note = _note(settings, catalog, item.root, case, restored.record)
    return RestoreResult(item.id, os.path.join(os.fsencode(item.root), restored.path), note=note)


def _announce(catalog: Catalog, item: QuarantinedFile) -> tuple[Verdict | None, str]:
    """Write down that a file is about to go back: a daemon that runs beside must not move it again.

    Return its case, if the catalogue has it, or why that is not to be had.
    """
    try:
        case = catalog.cases.get(item.id)
        if case is not None:
            catalog.cases.set(case.id, state="restoring")
            catalog.commit()
    except StorageError as error:
        return None, _unremembered(catalog, error)
    return case, ""


def _withdraw(catalog: Catalog, case: Verdict) -> str:
    try:
        catalog.cases.set(case.id, state=case.state)
        catalog.commit()
    except StorageError as error:
        return _unremembered(catalog, error)
    return ""


def _note(settings: Settings, catalog: Catalog, path: Path, case: Verdict, record: Record) -> str:
    """Remember and log that a file is back; return what of that was not possible, or an empty string."""
    try:
        root = resolve_root(path, catalog, time.time_ns(), starting=True)
        record_restored(catalog, path, root, case, record)
        catalog.commit()
    except RootOfflineError as error:
        catalog.rollback()
        return f"not yet noted in the catalogue: {error}"
    except StorageError as error:
        return _unremembered(catalog, error)
    return _log_now(settings, catalog)


def _unremembered(catalog: Catalog, error: StorageError) -> str:
    catalog.rollback()
    return f"this could not be remembered, so a daemon that runs may move the file again: {error}"


def _log_now(settings: Settings, catalog: Catalog) -> str:
    """Write the lines that are due; return why that is left to the daemon, or an empty string."""
    try:
        log = DuplicatesLog(settings.duplicates_log)
        try:
            flush_outbox(catalog, log)
        finally:
            log.close()
    except OSError as error:
        return f"the duplicates log cannot be written, the daemon does it later: {error.strerror}"
    except StorageError as error:
        return f"not in the duplicates log: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class _Old:
    """What the catalogue before held; `used` is False where there was none, or one that a command only made."""

    used: bool = False
    sound: bool = True
    roots: list[Root] = field(default_factory=list)
    dismissals: list[tuple[str, str, str]] = field(default_factory=list)


def _old(path: Path) -> _Old:
    if not path.exists():
        return _Old()
    try:
        catalog = Catalog(path)
    except CatalogError:
        return _Old(used=True, sound=False)
    try:
        roots, dismissals = catalog.roots(), catalog.cases.dismissals()
    except CatalogError:
        return _Old(used=True, sound=False)
    finally:
        catalog.close()
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
