"""The records of the quarantine: one JSON file per move, which alone is enough to put the file back.

A record is replaced as a whole and is durable before a user's file is touched. This module never opens a user's file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from twinwatch.errors import QuarantineError
from twinwatch.fs import PRIVATE_FOLDER, FileIdentity, closing
from twinwatch.wording import show_path

_VERSION = 1
_MAX_BYTES = 1 << 20
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"[0-9a-f]{32}\.json")
_TEMPORARY = re.compile(r"[0-9a-f]{32}\.tmp")


class RecordState(StrEnum):
    """How far a move has come. The values stand in the records."""

    INTENDED = "intended"  # the file may be at its path or in quarantine
    QUARANTINED = "quarantined"
    RESTORING = "restoring"  # the file may be in quarantine or at `restored_to`
    RESTORED = "restored"  # as a person asked
    ABORTED = "aborted"  # never moved, put back because the move could not stand, or taken out by hand


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """The order to move one copy: the file as judged, its original, and why. Paths are relative to their roots."""

    id: str  # uuid as 32 hexadecimal digits; also the id in the duplicates log and the file's name in quarantine
    path: bytes
    identity: FileIdentity
    sha256: str
    original_root: str
    original_path: bytes
    original_sha256: str
    kind: str  # exact | near
    distance: float | None
    evidence: float | None
    cluster: int | None
    edit: str
    bundle_id: str


@dataclass(frozen=True, slots=True)
class Record(MoveOrder):
    """The record of a move: the order, the file's owner, mode and access time before it, and its state."""

    uid: int
    gid: int
    mode: int  # permission bits
    atime_ns: int
    state: RecordState
    intended_at: str  # RFC 3339
    changed_at: str  # RFC 3339, when it came into this state
    restored_to: bytes | None  # the path it was restored or put back to; in an unfinished restore, the planned one


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes the records of one operation. Each is on disk when the call returns. Raises OSError."""

    info_fd: int  # the directory of the records, open
    now: Callable[[], str]  # returns the time as RFC 3339

    def begin(self, order: MoveOrder, status: os.stat_result) -> Record:
        """Write the record of a move that is about to happen; `status` is the file's, before the move."""
        known = {field.name: getattr(order, field.name) for field in fields(MoveOrder)}
        now = self.now()
        record = Record(
            **known,
            uid=status.st_uid,
            gid=status.st_gid,
            mode=stat.S_IMODE(status.st_mode),
            atime_ns=status.st_atime_ns,
            state=RecordState.INTENDED,
            intended_at=now,
            changed_at=now,
            restored_to=None,
        )
        write(self.info_fd, record)
        return record

    def advance(self, record: Record, state: RecordState, restored_to: bytes | None = None) -> Record:
        """Write the record with a new state, and return it."""
        record = replace(record, state=state, restored_to=restored_to, changed_at=self.now())
        write(self.info_fd, record)
        return record


def check_id(record_id: str) -> None:
    """Raise QuarantineError unless the id is 32 hexadecimal digits, and so safe as a file name."""
    if not _ID.fullmatch(record_id):
        raise QuarantineError(f"not a quarantine id: {record_id!r}; `twinwatch list` shows them")


def check_path(path: bytes) -> None:
    """Raise QuarantineError unless the path is relative, stays in its root and is outside every private folder."""
    parts = path.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts or PRIVATE_FOLDER in parts or b"\0" in path:
        raise QuarantineError(f"not a path that quarantine handles: {show_path(path)}")


def write(info_fd: int, record: Record) -> None:
    """Replace the record's file, durably. Raises OSError; then the file holds either the old or the new record."""
    data = memoryview(_to_json(record))
    name, temporary = _name(record.id), f"{record.id}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with closing(os.open(temporary, flags, 0o600, dir_fd=info_fd)) as fd:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    os.rename(temporary, name, src_dir_fd=info_fd, dst_dir_fd=info_fd)
    os.fsync(info_fd)


def read(info_fd: int, record_id: str) -> Record:
    """Return the record. Raises FileNotFoundError or OSError, or QuarantineError where it cannot be interpreted."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with closing(os.open(_name(record_id), flags, dir_fd=info_fd)) as fd:
        data = b""
        while len(data) <= _MAX_BYTES and (chunk := os.read(fd, _MAX_BYTES)):
            data += chunk
    return _from_json(record_id, data)


def list_ids(info_fd: int) -> tuple[list[str], list[str]]:
    """Return the sorted ids of all records, and the sorted names of files that `write` did not make. Raises OSError."""
    names = sorted(os.listdir(info_fd))
    ids = [name.removesuffix(".json") for name in names if _RECORD.fullmatch(name)]
    return ids, [name for name in names if not _RECORD.fullmatch(name) and not _TEMPORARY.fullmatch(name)]


def remove_temporaries(info_fd: int) -> None:
    """Remove the temporary files that interrupted writes left behind. Raises OSError."""
    for name in os.listdir(info_fd):
        if _TEMPORARY.fullmatch(name):
            os.unlink(name, dir_fd=info_fd)


def _name(record_id: str) -> str:
    check_id(record_id)
    return f"{record_id}.json"


def _to_json(record: Record) -> bytes:
    shown: dict[str, Any] = {"version": _VERSION}
    for name, value in asdict(record).items():
        if isinstance(value, bytes):
            # The readable form is for people. Only the base64 form is read back.
            shown[name] = show_path(value)
            shown[f"{name}_b64"] = base64.b64encode(value).decode("ascii")
        else:
            shown[name] = value
    shown["seal"] = _checksum(shown)
    return json.dumps(shown, indent=1).encode("ascii") + b"\n"


def _from_json(record_id: str, data: bytes) -> Record:
    try:
        shown = json.loads(data)
        seal = shown.pop("seal", None)  # records of earlier versions have none
        _require(seal in (None, _checksum(shown)), "seal: its content was changed")
        record = _parse(shown)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise QuarantineError(f"record {record_id} cannot be interpreted: {error!r}") from error
    if record.id != record_id:
        raise QuarantineError(f"record {record_id} says that it is {record.id}")
    return record


def _parse(shown: dict[str, Any]) -> Record:
    if shown["version"] != _VERSION:
        raise ValueError(f"version {shown['version']!r}, this program knows {_VERSION}")
    values = {field.name: shown[field.name] for field in fields(Record)}
    for name in ("path", "original_path", "restored_to"):
        if values[name] is not None:
            values[name] = base64.b64decode(shown[f"{name}_b64"], validate=True)
            check_path(values[name])
    values["identity"] = FileIdentity(**values["identity"])
    _require(values["state"] in tuple(RecordState), "state")
    values["state"] = RecordState(values["state"])
    for name in ("sha256", "original_sha256"):
        _require(_SHA256.fullmatch(values[name]) is not None, name)
    for name in ("uid", "gid", "mode", "atime_ns"):
        _require(type(values[name]) is int, name)
    for field in fields(FileIdentity):
        _require(type(getattr(values["identity"], field.name)) is int, field.name)
    _require(isinstance(values["path"], bytes) and isinstance(values["original_path"], bytes), "path")
    return Record(**values)


def _checksum(shown: dict[str, Any]) -> str:
    """Return the sha256 (hex) of the record without `state` and `changed_at`, which change during a move.

    The state needs no checksum: no flipped bit turns one of its words into another.
    """
    lasting = {name: value for name, value in shown.items() if name not in ("state", "changed_at")}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode("ascii")).hexdigest()


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"bad {what}")
