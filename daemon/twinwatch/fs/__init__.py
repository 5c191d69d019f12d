"""The file system without surprises: opens that follow no link, identity, mounts, and the system calls Python lacks.

It never writes to a user's file and knows nothing of pictures.
"""

from twinwatch.fs import linux
from twinwatch.fs.access import why_unusable
from twinwatch.fs.files import (
    TRANSIENT_ERRNOS,
    FileIdentity,
    StatTuple,
    folder_id,
    hash_file,
    look,
    open_beneath,
    open_folder,
    open_root,
    read_whole,
    stat_beneath,
    stat_tuple,
)
from twinwatch.fs.linux import closing
from twinwatch.fs.mounts import mount_of
from twinwatch.fs.paths import COOKIE_PREFIX, PRIVATE_FOLDER, split

__all__ = [
    "COOKIE_PREFIX",
    "PRIVATE_FOLDER",
    "TRANSIENT_ERRNOS",
    "FileIdentity",
    "StatTuple",
    "closing",
    "folder_id",
    "hash_file",
    "linux",
    "look",
    "mount_of",
    "open_beneath",
    "open_folder",
    "open_root",
    "read_whole",
    "split",
    "stat_beneath",
    "stat_tuple",
    "why_unusable",
]
