"""What `twinwatch check` checks: folders, mounts, watch limits, quarantine, state, log, bundle and device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from twinwatch.config import Settings, Watch
from twinwatch.errors import CatalogError, ConfigError, QuarantineError, StorageError
from twinwatch.fs import PRIVATE_FOLDER, mount_of, why_unusable
from twinwatch.quarantine import Quarantine
from twinwatch.search import Encoder, bundle_path, load_bundle
from twinwatch.service.state import StateFolder
from twinwatch.service.status import read_status
from twinwatch.store import open_store
from twinwatch.watching import uses_events, watch_limit
from twinwatch.wording import pluralize, user_name


class CheckOutcome(StrEnum):
    """How a check ended. After a warning the daemon works, but not as well as it could."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: what was checked, how it ended, and details for a person."""

    what: str
    outcome: CheckOutcome
    detail: str


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield the result of every check of a valid configuration. Users' files are neither moved nor changed."""
    state = None
    if os.access(settings.state_dir, os.F_OK):
        try:
            state = StateFolder(settings.state_dir)
        except ConfigError as error:
            yield Check("state_dir", CheckOutcome.FAILED, str(error))
            # This user is not the daemon's. The other checks would show this user's rights, and the one of a
            # quarantine would make folders that the daemon could not use.
            return
    else:
        yield _check_writable("state_dir", settings.state_dir, "none yet, the daemon makes it")
    switched_off, catalogue = _check_catalogue(state)
    watched_folders = 0
    for watch in settings.watch:
        unusable = why_unusable(watch.path)
        if unusable:
            yield Check(f"{watch.path}", CheckOutcome.FAILED, unusable)
            continue
        user_folders, private_folders = _count_folders(watch)
        watched_folders += user_folders + private_folders if uses_events(watch) else 0
        yield _check_mount(watch, user_folders)
        yield _check_quarantine(watch, switched_off.get(watch.path, ""))
    yield _check_watch_limit(watched_folders)
    if state is not None:
        yield from _check_daemon(state)
    yield catalogue
    yield _check_writable("duplicates_log", settings.duplicates_log, str(settings.duplicates_log))
    yield from _check_model(settings)


def _count_folders(watch: Watch) -> tuple[int, int]:
    """Return the number of the users' folders, and of our own ones: the kernel counts both as watched."""
    if not watch.recursive:
        return 1, 0
    folders = [os.fsencode(folder).split(b"/") for folder, _, _ in os.walk(watch.path)]
    private = sum(PRIVATE_FOLDER in names for names in folders)
    return len(folders) - private, private


def _check_mount(watch: Watch, folders: int) -> Check:
    """Whether the file system reports all events that the mode relies on."""
    mount = mount_of(watch.path)
    how = "events and scans" if uses_events(watch) else "scans only"
    detail = f"{pluralize(folders, 'folder')} on {mount.kind}, found by {how}"
    if watch.mode == "events" and mount.network:
        detail += f"; {mount.kind} does not report what other hosts write"
        return Check(f"{watch.path}", CheckOutcome.WARNING, detail)
    return Check(f"{watch.path}", CheckOutcome.OK, detail)


def _check_quarantine(watch: Watch, off_reason: str) -> Check:
    """Whether copies in a watched folder can be moved. `off_reason`: why quarantine is switched off there, if it is."""
    what = f"{watch.path}: quarantine"
    if watch.protect:
        return Check(what, CheckOutcome.OK, "protected: files here are never moved")
    if watch.action == "flag":
        return Check(what, CheckOutcome.OK, "copies are flagged only")
    try:
        Quarantine(watch.path).prepare()
    except QuarantineError as error:
        return Check(what, CheckOutcome.FAILED, f"{error}; copies are flagged only")
    if off_reason:
        detail = f"quarantine is off: {off_reason}; look into it, then `twinwatch resume`"
        return Check(what, CheckOutcome.WARNING, detail)
    return Check(what, CheckOutcome.OK, "copies are moved to .twinwatch/quarantine")


def _check_watch_limit(folders: int) -> Check:
    """Whether the kernel allows enough inotify watches: one is needed for each folder."""
    limit = watch_limit()
    detail = f"{pluralize(folders, 'folder')} to watch, the kernel allows {limit}"
    if folders < limit:
        return Check("inotify watches", CheckOutcome.OK, detail)
    advice = f"raise it with sysctl -w fs.inotify.max_user_watches={max(524288, 2 * folders)}"
    return Check("inotify watches", CheckOutcome.WARNING, f"{detail}; {advice}")


def _check_daemon(state: StateFolder) -> Iterator[Check]:
    """Whether a daemon runs, and the troubles that it reports itself."""
    pid = state.lock_owner()
    running = f", held by process {pid}" if pid else ", no daemon runs"
    yield Check("state_dir", CheckOutcome.OK, f"{state.path} on {mount_of(state.path).kind}{running}")
    if pid:
        # The daemon may run in a sandbox where it sees less than this command does.
        for root in read_status(state.path).get("roots", []):
            for trouble in filter(None, (root["away"], *root["notes"])):
                yield Check(root["path"], CheckOutcome.WARNING, f"the daemon says: {trouble}")


def _check_catalogue(state: StateFolder | None) -> tuple[dict[Path, str], Check]:
    """Return the reasons why quarantine is switched off, by watched folder, and whether the catalogue is sound."""
    if state is None or not state.catalog_path.exists():
        return {}, Check("catalogue", CheckOutcome.OK, "none yet, the daemon makes it")
    try:
        store = open_store(state.catalog_path)
    except (CatalogError, StorageError) as error:
        return {}, Check("catalogue", CheckOutcome.FAILED, str(error))
    found = store.check()
    if found != "ok":
        store.close()
        return {}, Check("catalogue", CheckOutcome.FAILED, f"{found}; run `twinwatch rebuild`")
    switched_off = {Path(os.fsdecode(root.path)): root.tripped for root in store.roots.all() if root.tripped}
    store.close()
    return switched_off, Check("catalogue", CheckOutcome.OK, "sound")


def _check_writable(what: str, path: Path, detail_if_ok: str) -> Check:
    """Whether a file or folder can be written at a path. The path and the folders above it may be missing yet."""
    # Path.exists would raise where this user may not enter a folder above.
    folder = next(parent for parent in (path, *path.parents) if os.access(parent, os.F_OK))
    if folder != path and not folder.is_dir():
        detail = f"{folder} is not a folder, so nothing can be made in it; choose another place"
        return Check(what, CheckOutcome.FAILED, detail)
    if os.access(folder, os.W_OK, effective_ids=True):
        return Check(what, CheckOutcome.OK, detail_if_ok)
    return Check(what, CheckOutcome.FAILED, f"{path} is not writable for the user {user_name()}")


def _check_model(settings: Settings) -> Iterator[Check]:
    """Whether the bundle can be loaded, and on which device the encoder runs."""
    try:
        bundle = load_bundle(bundle_path(settings.model.bundle))
        encoder = Encoder(bundle, settings.model.device)
    except ConfigError as error:
        yield Check("bundle", CheckOutcome.FAILED, str(error))
        return
    manifest = bundle.manifest
    radius = f"radius {manifest.nomination_radius:.3f}"
    yield Check("bundle", CheckOutcome.OK, f"{settings.model.bundle} ({manifest.preset}, id {bundle.id}), {radius}")
    fallback = f" ({encoder.fallback})" if encoder.fallback else ""
    yield Check("device", CheckOutcome.OK, f"{encoder.device}{fallback}")
