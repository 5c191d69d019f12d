"""The records: their form on disk, and what is not taken for one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from quarantine.actions import carry_out, order
from twinwatch.errors import QuarantineError
from twinwatch.fs import FileIdentity
from twinwatch.quarantine import Record, RecordState, directories, records

RECORD = Record(
    id=driver.ID,
    path=b"sub/caf\xe9 \n.jpg",
    identity=FileIdentity(1, 2, 3, 4, 5, 1),
    sha256="a" * 64,
    original_root="/srv/photos",
    original_path=b"original.jpg",
    original_sha256="b" * 64,
    kind="near",
    distance=0.25,
    evidence=0.75,
    cluster=7,
    edit="resized",
    bundle_id="default",
    uid=1000,
    gid=100,
    mode=0o640,
    atime_ns=6,
    state=RecordState.QUARANTINED,
    intended_at="2026-01-02T03:04:05.678Z",
    changed_at="2026-01-02T03:04:06.789Z",
    restored_to=None,
)
JSON = rb"""{
 "version": 1,
 "id": "0123456789abcdef0123456789abcdef",
 "path": "sub/caf\\xe9 \\n.jpg",
 "path_b64": "c3ViL2NhZukgCi5qcGc=",
 "identity": {
  "device": 1,
  "inode": 2,
  "size_bytes": 3,
  "mtime_ns": 4,
  "ctime_ns": 5,
  "links": 1
 },
 "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
 "original_root": "/srv/photos",
 "original_path": "original.jpg",
 "original_path_b64": "b3JpZ2luYWwuanBn",
 "original_sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
 "kind": "near",
 "distance": 0.25,
 "evidence": 0.75,
 "cluster": 7,
 "edit": "resized",
 "bundle_id": "default",
 "uid": 1000,
 "gid": 100,
 "mode": 416,
 "atime_ns": 6,
 "state": "quarantined",
 "intended_at": "2026-01-02T03:04:05.678Z",
 "changed_at": "2026-01-02T03:04:06.789Z",
 "restored_to": null,
 "seal": "746ef7f83ab7a1d2ae3e25ab917b39d18668c303277da1ab284f973fa0531880"
}
"""


@pytest.fixture
def info(root: Path) -> Iterator[tuple[Path, int]]:
    """Return the directory of the records as a path and open."""
    with directories.open_dirs(root) as dirs:
        yield root / ".twinwatch/quarantine/info", dirs.info


def test_the_form_on_disk_is_kept(info: tuple[Path, int]) -> None:
    """Records outlive the program that wrote them."""
    folder, info_fd = info
    records.write(info_fd, RECORD)
    assert [path.name for path in folder.iterdir()] == [f"{driver.ID}.json"]
    assert (folder / f"{driver.ID}.json").read_bytes() == JSON
    assert records.read(info_fd, driver.ID) == RECORD
    assert type(records.read(info_fd, driver.ID).state) is RecordState


def test_a_record_from_before_the_checksum_is_read(info: tuple[Path, int]) -> None:
    folder, info_fd = info
    (folder / f"{driver.ID}.json").write_bytes(JSON[: JSON.index(b',\n "seal"')] + b"\n}\n")
    assert records.read(info_fd, driver.ID) == RECORD


@pytest.mark.parametrize("state", RecordState)
def test_every_state_is_written_as_its_word(info: tuple[Path, int], state: RecordState) -> None:
    folder, info_fd = info
    record = replace(RECORD, state=state, restored_to=b"sub/x.jpg")
    records.write(info_fd, record)
    assert json.loads((folder / f"{driver.ID}.json").read_text())["state"] == str(state)
    assert records.read(info_fd, driver.ID) == record


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"uid": 1000', b'"uid": 1001', "bad seal: its content was changed"),
        (b'"state": "quarantined"', b'"state": "quarantinee"', "bad state"),
        (b'"state": "quarantined"', b'"state": ["quarantined"]', "bad state"),
        (b'"version": 1', b'"version": 2', "its content was changed"),
        (b"{", b"[", "cannot be interpreted"),
    ],
)
def test_what_was_changed_is_not_interpreted(info: tuple[Path, int], old: bytes, new: bytes, why: str) -> None:
    folder, info_fd = info
    (folder / f"{driver.ID}.json").write_bytes(JSON.replace(old, new, 1))
    with pytest.raises(QuarantineError, match=why):
        records.read(info_fd, driver.ID)


@pytest.mark.parametrize("length", range(0, len(JSON) - 2, 37))
def test_a_truncated_record_is_not_interpreted(info: tuple[Path, int], length: int) -> None:
    folder, info_fd = info
    (folder / f"{driver.ID}.json").write_bytes(JSON[:length])
    with pytest.raises(QuarantineError, match="cannot be interpreted"):
        records.read(info_fd, driver.ID)


def test_records_are_readable_and_private(root: Path) -> None:
    moved = carry_out(root, order(root))
    info = root / ".twinwatch/quarantine/info" / f"{moved.record.id}.json"
    shown = json.loads(info.read_text())
    assert (shown["path"], shown["state"], shown["kind"]) == ("sub/copy.jpg", "quarantined", "exact")
    for path in (info, root / ".twinwatch/lock"):
        assert path.stat().st_mode & 0o777 == 0o600
    for path in (root / ".twinwatch", info.parent, info.parent.parent):
        assert path.stat().st_mode & 0o777 == 0o700
