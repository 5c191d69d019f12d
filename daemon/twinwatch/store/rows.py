"""Rows to values and back. Column names are older than the names of the values, and stay."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from twinwatch.fs import FileIdentity
from twinwatch.store.values import Action, Content, File, FileState, Kind, Root, Verdict, VerdictState

NEVER_NS = -1
"""A modification time that no file has: whatever is at the path next counts as changed."""
_2_TO_64 = 1 << 64


def root_of(row: sa.Row[Any]) -> Root:
    folder = unsigned(row.device), unsigned(row.inode)
    return Root(row.id, row.path, folder, row.watched_ns, row.latched, row.latched_at)


def file_of(row: sa.Row[Any]) -> File:
    identity = FileIdentity(
        unsigned(row.device), unsigned(row.inode), row.size_bytes, row.mtime_ns, row.ctime_ns, row.links
    )
    path = row.folder + b"/" + row.name if row.folder else row.name
    return File(row.id, row.root_id, path, identity, row.content_id, FileState(row.state), row.standing, row.kept_ns)


def content_of(row: sa.Row[Any]) -> Content:
    return Content(**row._mapping)


def verdict_of(row: sa.Row[Any]) -> Verdict:
    enums = {"kind": Kind(row.kind), "action": Action(row.action), "state": VerdictState(row.state)}
    return Verdict(**{**row._mapping, **enums})


def columns_of(value: Content | Verdict) -> dict[str, Any]:
    """Return the fields of a value by column."""
    return {name: getattr(value, name) for name in type(value).__slots__}


def identity_columns(identity: FileIdentity) -> dict[str, int]:
    values = {name: getattr(identity, name) for name in FileIdentity.__slots__}
    return values | {"device": signed(identity.device), "inode": signed(identity.inode)}


def signed(number: int) -> int:
    """Inode and device numbers have 64 bits without a sign, a database's integers have one."""
    return number - _2_TO_64 if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    return number % _2_TO_64
