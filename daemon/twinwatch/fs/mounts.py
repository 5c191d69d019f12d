"""The mount table: on which kind of file system a path lies, and so whether events can be trusted there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NETWORK_KINDS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "ocfs2", "gfs2",
     "fuse", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "virtiofs", "davfs", "fuseblk"}
)  # fmt: skip
"""File systems that send no event for another client's write, and over which SQLite's WAL mode does not work."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry of the mount table: the mount point and the kind of file system, such as `ext4`."""

    point: Path
    kind: str

    @property
    def network(self) -> bool:
        """True where other hosts may write, or where changes may come without an event."""
        return self.kind in NETWORK_KINDS or self.kind.startswith("fuse.")


def mount_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> Mount:
    """Return the mount that holds `path`: the deepest mount point above it, and the last where several are stacked.

    Raises OSError where the table cannot be read.
    """
    # psutil.disk_partitions gives the same table (stacked, bind and escaped points compared), but not this search.
    resolved = Path(os.path.realpath(path))
    found = Mount(Path("/"), "unknown")
    for line in mountinfo.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        # proc(5): the fifth field is the mount point, with space, tab, newline and backslash as octal escapes.
        point = Path(os.fsdecode(before.split(b" ")[4].decode("unicode_escape").encode("latin-1")))
        if resolved.is_relative_to(point) and len(point.parts) >= len(found.point.parts):
            found = Mount(point, after.split(b" ")[0].decode())
    return found
