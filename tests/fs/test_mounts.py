"""Which mount holds a path, read from tables as the kernel writes them."""

from pathlib import Path

import pytest

from twinwatch.fs import mount_of
from twinwatch.fs.mounts import Mount

TABLE = r"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /proc rw - proc proc rw
30 21 0:40 / /srv/share rw,relatime shared:5 master:2 - nfs4 server:/share rw,vers=4.2
31 30 0:41 / /srv/share/local rw - xfs /dev/sdb1 rw
32 21 0:42 / /srv/with\040space\134and\011tab rw - cifs //server/x rw
33 21 0:43 / /srv/caf\351 rw - fuse.sshfs host: rw
34 21 0:44 / /mnt rw - ext4 /dev/sdc1 rw
35 34 0:45 / /mnt rw - smb3 //server/y rw
36 21 0:46 / /data rw - 9p host rw
37 36 0:47 / /data rw - btrfs /dev/sdd rw
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    # Latin-1 stands for the raw bytes of a name that is not UTF-8.
    path.write_bytes(TABLE.replace(r"\351", "\xe9").encode("latin-1"))
    return path


@pytest.mark.parametrize(
    ("path", "point", "kind", "network"),
    [
        ("/srv", "/", "ext4", False),
        ("/srv/share", "/srv/share", "nfs4", True),
        ("/srv/share/a/b", "/srv/share", "nfs4", True),
        ("/srv/share2", "/", "ext4", False),
        ("/srv/share/local/x", "/srv/share/local", "xfs", False),
        ("/srv/with space\\and\ttab/x", "/srv/with space\\and\ttab", "cifs", True),
        ("/srv/caf\udce9/x", "/srv/caf\udce9", "fuse.sshfs", True),
    ],
)
def test_the_deepest_mount_above_a_path_holds_it(table: Path, path: str, point: str, kind: str, network: bool) -> None:
    mount = mount_of(Path(path), table)
    assert mount == Mount(Path(point), kind)
    assert mount.network is network


@pytest.mark.parametrize(("path", "kind"), [("/mnt/x", "smb3"), ("/data", "btrfs")])
def test_of_stacked_mounts_the_last_one_is_seen(table: Path, path: str, kind: str) -> None:
    assert mount_of(Path(path), table).kind == kind


def test_a_link_is_followed_to_where_the_folder_lies(table: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/share")
    assert mount_of(tmp_path / "link" / "inner", table).kind == "nfs4"


@pytest.mark.parametrize("kind", ["fuse.rclone", "fuse.whatever", "fuse", "virtiofs", "ceph", "nfs"])
def test_kinds_where_others_may_write_unseen(kind: str) -> None:
    assert Mount(Path("/x"), kind).network


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fusectl", "vfat"])
def test_local_kinds(kind: str) -> None:
    assert not Mount(Path("/x"), kind).network


def test_this_machine_s_own_table_is_read() -> None:
    assert mount_of(Path("/proc/self")) == Mount(Path("/proc"), "proc")
