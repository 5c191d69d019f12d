"""Which folder is a watched path right now, and is it the one it was?

It never takes an empty mount point for the share that belongs there.
"""

from __future__ import annotations

import os
from pathlib import Path

from twinwatch.catalog import Catalog, Root
from twinwatch.config import Settings
from twinwatch.errors import ConfigError
from twinwatch.phrases import user_name
from twinwatch.reader import folder_of


class AwayError(Exception):
    """The watched folder is not there, or something else is in its place; the message says what to do."""


def recognise(path: Path, catalog: Catalog, now_ns: int, starting: bool) -> Root:
    """Return the root that the folder at `path` is, made known if it is new. Raises AwayError.

    A folder made anew on the same device is a new root: what the old one held is not believed to be deleted. Another
    device in its place is a missing or covering mount, and is left alone, unless only the device's number changed, as
    it may from boot to boot (`starting`).
    """
    try:
        folder = folder_of(path)
    except OSError as error:
        raise AwayError(f"{path}: {error.strerror}; bring it back, work resumes by itself") from None
    known = catalog.roots(path)
    for root in known:
        if root.folder == folder:
            return root
    if not known or known[0].folder[0] == folder[0]:
        return catalog.add_root(path, folder, now_ns)
    if starting and known[0].folder[1] == folder[1]:
        catalog.set_root(known[0].id, device=folder[0])
        return recognise(path, catalog, now_ns, starting=False)
    raise AwayError(
        f"{path} is on another device than before; mount the right one, "
        "or run `twinwatch rebuild` if the share was moved to a new disk"
    )


def obstacle(path: Path) -> str:
    """Return why the folder at `path` cannot be watched just now, or an empty string."""
    # The open is the proof: a folder may exist and still be closed to this user.
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except FileNotFoundError:
        return f"no such folder: {path}; create it, mount it or remove this entry"
    except NotADirectoryError:
        return f"not a folder: {path}"
    except PermissionError:
        readable = False
    except OSError as error:
        return f"cannot be opened: {path}: {error.strerror}"
    else:
        readable = os.access(path, os.R_OK | os.X_OK, effective_ids=True)
    return "" if readable else f"cannot be read by the user {user_name()}: {path}; grant it read and search permission"


def refuse_unknown(settings: Settings, source: Path, catalog_path: Path) -> None:
    """Raises ConfigError that names each folder that cannot be had and never was watched: a mistake in `source`.

    One that was watched before is away, and taken up when it is back.
    """
    missing = {number: why for number, watch in enumerate(settings.watch) if (why := obstacle(watch.path))}
    if not missing:
        return
    known: set[bytes] = set()
    if catalog_path.exists():
        catalog = Catalog(catalog_path)
        known = {root.path for root in catalog.roots()}
        catalog.close()
    lines = [
        f"watch[{number}].path: {why}"
        for number, why in missing.items()
        if os.fsencode(settings.watch[number].path) not in known
    ]
    if lines:
        raise ConfigError(f"{source} is refused:", *lines)
