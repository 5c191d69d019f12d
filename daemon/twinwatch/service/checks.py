"""What `twinwatch check` looks at: folders, mounts, watch limits, quarantine, state, log, bundle and device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinwatch.config import Settings, Watch
from twinwatch.errors import CatalogError, ConfigError, QuarantineError, StorageError
from twinwatch.fs import PRIVATE_FOLDER, mount_of, why_unusable
from twinwatch.quarantine import Quarantine
from twinwatch.search import Encoder, bundle_path, load_bundle
from twinwatch.service.state import StateFolder
from twinwatch.store import Catalog
from twinwatch.watching import uses_events, watch_limit
from twinwatch.wording import pluralize, user_name


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `warning` still works, `failed` does not."""

    what: str
    outcome: Literal["ok", "warning", "failed"]
    detail: str


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield every check of a configuration that is valid in itself. Moves nothing and changes no file of a user."""
    state = None
    if os.access(settings.state_dir, os.F_OK):
        try:
            state = StateFolder(settings.state_dir)
        except ConfigError as error:
            yield Check("state_dir", "failed", str(error))
            return  # Another user's rights say nothing about the daemon's, and a quarantine they make is refused to it.
    else:
        yield _place("state_dir", settings.state_dir, "none yet, the daemon makes it")
    latched, catalogue = _catalogue(state)
    watched = 0
    for watch in settings.watch:
        missing = why_unusable(watch.path)
        if missing:
            yield Check(f"{watch.path}", "failed", missing)
            continue
        folders, private = _folders(watch)
        watched += folders + private if uses_events(watch) else 0
        yield _watching(watch, folders)
        yield _quarantine(watch, latched.get(watch.path, ""))
    yield _limit(watched)
    if state is not None:
        yield from _state(state)
    yield catalogue
    yield _place("duplicates_log", settings.duplicates_log, str(settings.duplicates_log))
    yield from _model(settings)


def _folders(watch: Watch) -> tuple[int, int]:
    """Return how many folders of the user's there are, and how many of our own, which events come from too."""
    if not watch.recursive:
        return 1, 0
    parts = [os.fsencode(place).split(b"/") for place, _, _ in os.walk(watch.path)]
    private = sum(PRIVATE_FOLDER in names for names in parts)
    return len(parts) - private, private


def _watching(watch: Watch, folders: int) -> Check:
    mount = mount_of(watch.path)
    how = "events and scans" if uses_events(watch) else "scans only"
    detail = f"{pluralize(folders, 'folder')} on {mount.kind}, found by {how}"
    if watch.mode == "events" and mount.network:
        return Check(f"{watch.path}", "warning", f"{detail}; {mount.kind} does not report what other hosts write")
    return Check(f"{watch.path}", "ok", detail)


def _quarantine(watch: Watch, latched: str) -> Check:
    what = f"{watch.path}: quarantine"
    if watch.protect:
        return Check(what, "ok", "protected: files here are never moved")
    if watch.action == "flag":
        return Check(what, "ok", "copies are flagged only")
    try:
        Quarantine(watch.path).prepare()
    except QuarantineError as error:
        return Check(what, "failed", f"{error}; copies are flagged only")
    if latched:
        return Check(what, "warning", f"quarantine is off: {latched}; look into it, then `twinwatch resume`")
    return Check(what, "ok", "copies are moved to .twinwatch/quarantine")


def _limit(folders: int) -> Check:
    limit = watch_limit()
    detail = f"{pluralize(folders, 'folder')} to watch, the kernel allows {limit}"
    if folders < limit:
        return Check("inotify watches", "ok", detail)
    return Check(
        "inotify watches",
        "warning",
        f"{detail}; raise it with sysctl -w fs.inotify.max_user_watches={max(524288, 2 * folders)}",
    )


def _state(state: StateFolder) -> Iterator[Check]:
    holder = state.holder()
    running = f", held by process {holder}" if holder else ", no daemon runs"
    yield Check("state_dir", "ok", f"{state.path} on {mount_of(state.path).kind}{running}")
    if holder:
        # The daemon may live in a sandbox that this command does not share.
        for root in state.read_status().get("roots", []):
            for trouble in filter(None, (root["away"], *root["notes"])):
                yield Check(root["path"], "warning", f"the daemon says: {trouble}")


def _catalogue(state: StateFolder | None) -> tuple[dict[Path, str], Check]:
    """Return also why quarantine is off, by folder."""
    if state is None or not state.catalog_path.exists():
        return {}, Check("catalogue", "ok", "none yet, the daemon makes it")
    try:
        catalog = Catalog(state.catalog_path)
    except (CatalogError, StorageError) as error:
        return {}, Check("catalogue", "failed", str(error))
    found = catalog.check()
    if found != "ok":
        catalog.close()
        return {}, Check("catalogue", "failed", f"{found}; run `twinwatch rebuild`")
    latched = {Path(os.fsdecode(root.path)): root.latched for root in catalog.roots() if root.latched}
    catalog.close()
    return latched, Check("catalogue", "ok", "sound")


def _place(what: str, path: Path, good: str) -> Check:
    """Whether something can be written at a path, which may be missing, as its folders may be."""
    # `exists` would raise where a folder above is closed to this user.
    folder = next(parent for parent in (path, *path.parents) if os.access(parent, os.F_OK))
    if folder != path and not folder.is_dir():
        return Check(what, "failed", f"{folder} is not a folder, so nothing can be made in it; choose another place")
    if os.access(folder, os.W_OK, effective_ids=True):
        return Check(what, "ok", good)
    return Check(what, "failed", f"{path} is not writable for the user {user_name()}")


def _model(settings: Settings) -> Iterator[Check]:
    try:
        bundle = load_bundle(bundle_path(settings.model.bundle))
        encoder = Encoder(bundle, settings.model.device)
    except ConfigError as error:
        yield Check("bundle", "failed", str(error))
        return
    manifest = bundle.manifest
    yield Check(
        "bundle",
        "ok",
        f"{settings.model.bundle} ({manifest.preset}, id {bundle.id}), radius {manifest.nomination_radius:.3f}",
    )
    fallback = f" ({encoder.fallback})" if encoder.fallback else ""
    yield Check("device", "ok", f"{encoder.device}{fallback}")
