"""Which folder is a watched path right now, and is it the one it was?

It never takes an empty mount point for the share that belongs there.
"""

from __future__ import annotations

from pathlib import Path

from twinwatch.fs import TRANSIENT_ERRNOS, folder_id
from twinwatch.store.base import Store
from twinwatch.store.values import Root


class RootOfflineError(Exception):
    """The watched folder is not there, or something else is in its place; the message says what to do."""


def resolve_root(path: Path, store: Store, now_ns: int, starting: bool) -> Root:
    """Return the root that the folder at `path` is, made known if it is new.

    Raises RootOfflineError, and OSError where that is unknown now, for want of descriptors or memory.

    A folder made anew on the same device is a new root: what the old one held is not believed to be deleted. Another
    device in its place is a missing or covering mount, and is left alone, unless only the device's number changed, as
    it may from boot to boot (`starting`).
    """
    try:
        folder = folder_id(path)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        raise RootOfflineError(f"{path}: {error.strerror}; bring it back, work resumes by itself") from None
    known = store.roots.all(path)
    for root in known:
        if root.folder == folder:
            return root
    if not known or known[0].folder[0] == folder[0]:
        return store.roots.add(path, folder, now_ns)
    if starting and known[0].folder[1] == folder[1]:
        store.roots.set_device(known[0].id, folder[0])
        return resolve_root(path, store, now_ns, starting=False)
    raise RootOfflineError(
        f"{path} is on another device than before; mount the right one, "
        "or run `twinwatch rebuild` if the share was moved to a new disk"
    )
