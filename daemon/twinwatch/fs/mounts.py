"""What kind of file system a path lies on, from `/proc/self/mountinfo`; it decides where events can be trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# These never report what another client wrote, and SQLite's WAL does not work over them.
NETWORK_KINDS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "ocfs2", "gfs2",
     "fuse", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "virtiofs", "davfs", "fuseblk"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where it is mounted and its kind, such as `ext4`."""

    point: Path
    kind: str

    @property
    def network(self) -> bool:
        """True where other hosts may write, or changes may come without an event."""
        return self.kind in NETWORK_KINDS or self.kind.startswith("fuse.")


def mount_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> Mount:
    """Return the mount that holds `path`: the deepest mount point above it, the latest where several are stacked."""
    resolved = Path(os.path.realpath(path))
    found = Mount(Path("/"), "unknown")
    for line in mountinfo.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        # proc(5): field 5 is the mount point, with space, tab, newline and backslash as octal escapes.
        point = Path(os.fsdecode(before.split(b" ")[4].decode("unicode_escape").encode("latin-1")))
        if resolved.is_relative_to(point) and len(point.parts) >= len(found.point.parts):
            found = Mount(point, after.split(b" ")[0].decode())
    return found
