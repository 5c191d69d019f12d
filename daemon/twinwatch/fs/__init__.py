"""Safe access to the file system: opens that follow no link, file identity, mounts, and calls that Python lacks.

It never writes to a user's file and knows nothing of pictures.
"""

from twinwatch.fs import linux
from twinwatch.fs.access import why_unusable
from twinwatch.fs.files import TRANSIENT_ERRNOS, hash_file, open_beneath, open_folder, open_root, read_whole
from twinwatch.fs.identity import FileIdentity, StatTuple, folder_id, stat_beneath, stat_regular, stat_tuple
from twinwatch.fs.linux import closing
from twinwatch.fs.mounts import mount_of
from twinwatch.fs.paths import COOKIE_PREFIX, PRIVATE_FOLDER, join, split

__all__ = [
    "COOKIE_PREFIX",
    "PRIVATE_FOLDER",
    "TRANSIENT_ERRNOS",
    "FileIdentity",
    "StatTuple",
    "closing",
    "folder_id",
    "hash_file",
    "join",
    "linux",
    "mount_of",
    "open_beneath",
    "open_folder",
    "open_root",
    "read_whole",
    "split",
    "stat_beneath",
    "stat_regular",
    "stat_tuple",
    "why_unusable",
]
