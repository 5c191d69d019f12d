"""What is known about every file: SQLite through SQLAlchemy Core. SQL is here, in `cases`, `statements` and `schema`.

It can be rebuilt from the folders and the quarantine's own records, except what people dismissed. A Catalog belongs to
the thread that opened it; writes are gathered until `commit`, which is short, so that the others never wait long.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert

from twinwatch.errors import CatalogError
from twinwatch.fs import FileIdentity, StatTuple, split
from twinwatch.store import statements
from twinwatch.store.tables import FOUND, PRESENT, WAITING, connect, contents, embeddings, files, missed, roots
from twinwatch.store.verdicts import Verdicts

ORIGINALS = ("kept", "duplicate", "restored")
_STATES = ("gone", "quarantined", *ORIGINALS, "new", "link", "unreadable")

_PRESENT = sa.text(PRESENT)
_FACTS = tuple(files.c[name] for name in FileIdentity.__slots__)

_2_TO_64 = 1 << 64
_MOST_KNOWN = 500
_CHECK_CACHE_KB = 200_000  # with SQLite's usual 2 MB, checking the indexes of a large catalogue takes twice as long
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Root:
    """A watched folder: its path, which (device, inode) it is, since when; if it is flag-only, why and since when."""

    id: int
    path: bytes
    folder: tuple[int, int]
    watched_ns: int
    latched: str | None
    latched_at: str | None  # RFC 3339


@dataclass(frozen=True, slots=True)
class File:
    """One file at a path beneath a root."""

    id: int
    root_id: int
    path: bytes
    identity: FileIdentity
    content_id: int | None
    state: str
    standing: bool
    kept_ns: int | None = None  # when what it holds was judged; originals are chosen by it


@dataclass(frozen=True, slots=True)
class Content:
    """What some bytes hold. `reason` is None for a picture, else why it is none.

    `blank` pictures are copies by equal bytes only: uniform ones, and the first of several frames or pages.
    """

    id: int
    sha256: str
    size_bytes: int
    reason: str | None
    width: int
    height: int
    format: str
    blank: bool


@dataclass(frozen=True, slots=True)
class ContentFiles:
    """Who holds a content: originals, never flagged ones first, then the oldest; and files to be judged again."""

    originals: list[File]
    queued: list[File]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file (its absolute path) that is no readable picture, and why."""

    path: bytes
    reason: str


class Catalog:
    """Opens, and where needed creates or migrates, the catalogue at `path`."""

    def __init__(self, path: Path) -> None:
        """Raises CatalogError where the file is damaged, unreadable or newer than this version."""
        self.path = path
        self._connection = connect(path)
        self.cases = Verdicts(self._connection)

    def close(self) -> None:
        self._connection.rollback()
        self._connection.close()

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()

    def version(self) -> tuple[int, int]:
        """Return what changes as soon as anybody changes the catalogue: other connections, or this one."""
        others = self._connection.exec_driver_sql("PRAGMA data_version").scalar()
        driver = self._connection.connection.driver_connection
        assert driver is not None
        return int(others or 0), int(driver.total_changes)

    def check(self) -> str:
        """Return `ok`, or what is damaged: as SQLite sees it, or a word that none of ours is."""
        self._connection.exec_driver_sql(f"PRAGMA cache_size=-{_CHECK_CACHE_KB}")
        try:
            found = str(self._connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
            words = self._connection.scalar(sa.select(sa.func.count()).where(files.c.state.not_in(_STATES)))
        except CatalogError:
            return "it is damaged"
        finally:
            self._connection.rollback()
        return found if found != "ok" or not words else f"{words} files are in no known state"

    def make_durable(self) -> None:
        """From now on a commit reaches the disk before it returns: for what cannot be rebuilt."""
        self._connection.commit()
        self._connection.exec_driver_sql("PRAGMA synchronous=FULL")

    # Roots

    def roots(self, path: Path | None = None) -> list[Root]:
        """Return the known roots, at one path if given; the one that was watched last comes first."""
        query = sa.select(roots).order_by(roots.c.id.desc())
        if path is not None:
            query = query.where(roots.c.path == os.fsencode(path))
        return [_root(row) for row in self._connection.execute(query)]

    def add_root(self, path: Path, folder: tuple[int, int], watched_ns: int) -> Root:
        """Make a folder known, watched from `watched_ns` on."""
        values = {
            "path": os.fsencode(path),
            "device": _signed(folder[0]),
            "inode": _signed(folder[1]),
            "watched_ns": watched_ns,
        }
        root_id = self._connection.scalar(sa.insert(roots).values(**values).returning(roots.c.id))
        return Root(int(root_id or 0), os.fsencode(path), folder, watched_ns, None, None)

    def set_root(self, root_id: int, **values: Any) -> None:
        """Set columns of a root: `device`, or `latched` with `latched_at`."""
        if "device" in values:
            values["device"] = _signed(values["device"])
        self._connection.execute(sa.update(roots).where(roots.c.id == root_id).values(**values))

    # Files

    def files_in(self, root_id: int, folder: bytes) -> dict[bytes, File]:
        """Return the files known at one folder of a root, by name."""
        rows = self._connection.execute(
            sa.select(files).where(files.c.root_id == root_id, files.c.folder == folder, _PRESENT)
        )
        return {row.name: _file(row) for row in rows}

    def facts_in(self, root_id: int, folder: bytes) -> dict[bytes, StatTuple]:
        """Return, by name, the facts of the identities that `files_in` would return."""
        rows = self._connection.execute(
            sa.select(files.c.name, *_FACTS).where(files.c.root_id == root_id, files.c.folder == folder, _PRESENT)
        ).cursor  # as SQLAlchemy's own rows take as long again as SQLite
        assert rows is not None
        return {name: (device % _2_TO_64, inode % _2_TO_64, *more) for name, device, inode, *more in rows.fetchall()}

    def folders(self, root_id: int) -> list[bytes]:
        """Return every folder of a root in which files are known."""
        query = sa.select(files.c.folder).where(files.c.root_id == root_id, _PRESENT).distinct()
        return list(self._connection.scalars(query))

    def files_count(self, root_id: int) -> int:
        """Return how many files are known to be in a root."""
        query = sa.select(sa.func.count()).where(files.c.root_id == root_id, _PRESENT)
        return int(self._connection.scalar(query) or 0)

    def file_at(self, root_id: int, path: bytes) -> File | None:
        """Return the file known at `path`."""
        folder, name = split(path)
        there = {"root_id": root_id, "folder": folder, "name": name}
        row = self._connection.execute(statements.FILE_AT, there).first()
        return None if row is None else _file(row)

    def file(self, file_id: int) -> File | None:
        row = self._connection.execute(statements.FILE, {"the_id": file_id}).first()
        return None if row is None else _file(row)

    def same_inode(self, file: File, identity: FileIdentity) -> list[File]:
        """Return the other files that were last seen as this inode, also those that are gone by now."""
        inode = {"inode": _signed(identity.inode), "device": _signed(identity.device), "but": file.id}
        return [_file(row) for row in self._connection.execute(statements.SAME_INODE, inode)]

    def enqueue(
        self, root_id: int, path: bytes, seen: FileIdentity, standing: bool, arrived_ns: int, queue: str
    ) -> None:
        """Put a new or changed file in the queue: `waiting`, or `found` until `release_found`."""
        folder, name = split(path)
        new = {"root_id": root_id, "folder": folder, "name": name, "state": "new", "standing": standing}
        queued = {"queue": queue, "arrived_ns": arrived_ns, **_identity_values(seen)}
        self._connection.execute(statements.ENQUEUE, new | queued)

    def release_found(self) -> None:
        """Let what the first scan found be judged."""
        self._connection.execute(sa.update(files).where(sa.text(FOUND)).values(queue="waiting"))

    def waiting(self, limit: int, root_ids: Iterable[int], but: Iterable[int]) -> list[File]:
        """Return the next files to judge: what stood there first by modification time, then in order of arrival."""
        query = (
            sa.select(files)
            .where(sa.text(WAITING), files.c.root_id.in_(list(root_ids)), files.c.id.not_in(list(but)))
            .order_by(files.c.standing.desc(), files.c.arrived_ns, files.c.folder, files.c.name)
            .limit(limit)
        )
        return [_file(row) for row in self._connection.execute(query)]

    def waiting_count(self) -> int:
        """Return how many files are in the queue, found or waiting."""
        queued = (sa.select(sa.func.count()).select_from(files).where(sa.text(which)) for which in (FOUND, WAITING))
        return sum(int(self._connection.scalar(query) or 0) for query in queued)

    def lacking_embedding(self, bundle_id: str, limit: int, root_ids: Iterable[int], but: Iterable[int]) -> list[File]:
        """Return one living file for each of the next contents that this bundle has not embedded yet."""
        query = (
            sa.select(files)
            .join(contents, contents.c.id == files.c.content_id)
            .outerjoin(embeddings, (embeddings.c.content_id == contents.c.id) & (embeddings.c.bundle_id == bundle_id))
            .where(
                files.c.state.in_(ORIGINALS),
                files.c.queue.is_(None),
                contents.c.reason.is_(None),
                embeddings.c.content_id.is_(None),
                files.c.root_id.in_(list(root_ids)),
                files.c.id.not_in(list(but)),
            )
            .group_by(contents.c.id)
            .limit(limit)
        )
        return [_file(row) for row in self._connection.execute(query)]

    def set_file(self, file_id: int, **values: Any) -> None:
        """Set columns of a file, such as `state`, `queue`, `content_id`."""
        self._connection.execute(statements.SET_FILE, {"the_id": file_id, **values})

    def place_file(self, file_id: int, root_id: int, path: bytes, identity: FileIdentity, **values: Any) -> None:
        """Put a file at a path, whatever was known there before."""
        there = self.file_at(root_id, path)
        if there is not None and there.id != file_id:
            if there.state == "new":
                self._connection.execute(sa.delete(files).where(files.c.id == there.id))
            else:
                self.set_file(there.id, state="gone", queue=None)
        folder, name = split(path)
        self.set_file(file_id, root_id=root_id, folder=folder, name=name, **_identity_values(identity), **values)

    def set_identity(self, file_id: int, identity: FileIdentity, **values: Any) -> None:
        self.set_file(file_id, **_identity_values(identity), **values)

    def holders(self, content_ids: Iterable[int]) -> dict[int, ContentFiles]:
        """Return who holds each of these contents and can be an original."""
        found = {content_id: ContentFiles([], []) for content_id in content_ids}
        for row in self._connection.execute(statements.HOLDERS, {"content_ids": list(found)}):
            holders = found[row.content_id]
            (holders.originals if row.queue is None else holders.queued).append(_file(row))
        return found

    def has_living(self, content_id: int) -> bool:
        """True while a file that can be an original holds this content."""
        query = sa.select(files.c.id).where(files.c.content_id == content_id, files.c.state.in_(ORIGINALS)).limit(1)
        return self._connection.scalar(query) is not None

    def missed(self) -> dict[int, int]:
        """Return the files that searches did not find in place, by id, and since when they may have been missed."""
        return {row.file_id: row.since_ns for row in self._connection.execute(sa.select(missed))}

    def miss(self, file_id: int, since_ns: int) -> None:
        """Remember such a file; a time that is known stays."""
        self._connection.execute(insert(missed).values(file_id=file_id, since_ns=since_ns).on_conflict_do_nothing())

    def unmiss(self, file_id: int) -> None:
        self._connection.execute(sa.delete(missed).where(missed.c.file_id == file_id))

    def requeue_links(self, content_id: int) -> None:
        """Let the other names of a file be judged, as the name that stood for all of them is gone."""
        links = (files.c.content_id == content_id) & (files.c.state == "link")
        self._connection.execute(sa.update(files).where(links).values(state="new", queue="waiting"))

    def requeue_kept(self, content_ids: Iterable[int], since_ns: int, but: int) -> None:
        """Let the files that were kept since then with one of these contents be judged again."""
        late = (files.c.state == "kept") & files.c.queue.is_(None) & (files.c.kept_ns >= since_ns) & (files.c.id != but)
        for content_id in content_ids:
            again = late & (files.c.content_id == content_id)
            self._connection.execute(sa.update(files).where(again).values(state="new", queue="waiting"))

    def counts(self) -> dict[str, int]:
        """Return the number of files by state; `waiting` counts the queue, and `quarantined` the verdicts.

        After a rebuild only the verdicts know of what lies in quarantine.
        """
        query = sa.select(files.c.state, sa.func.count()).where(files.c.state != "quarantined").group_by(files.c.state)
        result = {str(state): int(count) for state, count in self._connection.execute(query)}
        quarantined = self.cases.quarantined_count()
        return result | ({"quarantined": quarantined} if quarantined else {}) | {"waiting": self.waiting_count()}

    def ever_seen(self, path: Path) -> int:
        """Return how many files were ever known beneath a watched path, whichever folder was there."""
        query = (
            sa.select(sa.func.count())
            .select_from(files)
            .join(roots, roots.c.id == files.c.root_id)
            .where(roots.c.path == os.fsencode(path))
        )
        return int(self._connection.scalar(query) or 0)

    def unreadable(self, root_ids: Iterable[int] | None = None) -> list[UnreadableFile]:
        """Return the files that are no readable pictures, of these roots if given."""
        query = (
            sa.select(roots.c.path, files.c.folder, files.c.name, files.c.refusal)
            .join(roots, roots.c.id == files.c.root_id)
            .where(files.c.state == "unreadable")
            .order_by(roots.c.path, files.c.folder, files.c.name)
        )
        if root_ids is not None:
            query = query.where(files.c.root_id.in_(list(root_ids)))
        return [
            UnreadableFile(b"/".join(part for part in (row.path, row.folder, row.name) if part), row.refusal or "")
            for row in self._connection.execute(query)
        ]

    # Contents

    def content(self, content_id: int) -> Content | None:
        return self.contents([content_id]).get(content_id)

    def contents(self, content_ids: Iterable[int]) -> dict[int, Content]:
        """Return those of these contents that there are, by id."""
        rows = self._connection.execute(statements.CONTENTS, {"ids": list(content_ids)})
        return {row.id: Content(*row) for row in rows}

    def content_of(self, sha256: str) -> Content | None:
        row = self._connection.execute(statements.CONTENT_OF, {"sha256": sha256}).first()
        return None if row is None else Content(*row)

    def known_sha256(self, size_bytes: int, bundle_id: str) -> frozenset[str]:
        """Return the hashes of known contents of one size that need no decoding: no pictures, or embedded already.

        Where they are so many that handing them out would cost more than decoding, there are none.
        """
        which = {"size_bytes": size_bytes, "bundle_id": bundle_id, "most": _MOST_KNOWN + 1}
        found = frozenset(self._connection.scalars(statements.KNOWN_SHA256, which))
        return found if len(found) <= _MOST_KNOWN else frozenset()

    def add_content(self, content: Content) -> Content:
        """Remember a content, replacing what was known of these bytes; `id` is given by the catalogue."""
        values = {name: getattr(content, name) for name in Content.__slots__ if name != "id"}
        content_id = self._connection.scalar(statements.ADD_CONTENT, values)
        return replace(content, id=int(content_id or 0))

    def add_embedding(self, content_id: int, bundle_id: str, vector: NDArray[np.float32]) -> None:
        """Remember float32 [256] as what one bundle makes of a content."""
        values = {"content_id": content_id, "bundle_id": bundle_id, "vector": vector.astype("<f4").tobytes()}
        self._connection.execute(statements.ADD_EMBEDDING, values)

    def embedding(self, content_id: int, bundle_id: str) -> NDArray[np.float32] | None:
        """Return float32 [256], or None where this bundle has not embedded the content."""
        which = {"content_id": content_id, "bundle_id": bundle_id}
        vector = self._connection.scalar(statements.EMBEDDING, which)
        return None if vector is None else np.frombuffer(vector, "<f4")

    def living_embeddings(self, bundle_id: str, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ids, int64 [N], and embeddings, float32 [N, dim], of all contents that can be nominated.

        Those are the pictures that can be an original and are not blank.
        """
        total = sa.select(sa.func.count()).where(embeddings.c.bundle_id == bundle_id)
        most = int(self._connection.scalar(total) or 0)
        keys, vectors = np.empty(most, np.int64), np.empty((most, dim), np.float32)  # takes no memory until written
        living = sa.select(files.c.content_id).where(files.c.state.in_(ORIGINALS))
        query = (
            sa.select(embeddings.c.content_id, embeddings.c.vector)
            .join(contents, contents.c.id == embeddings.c.content_id)
            .where(
                embeddings.c.bundle_id == bundle_id,
                contents.c.blank.is_(False),
                embeddings.c.content_id.in_(living),
            )
        )
        size = 0
        for rows in self._connection.execute(query).yield_per(_ROWS_AT_ONCE).partitions():
            place = slice(size, size + len(rows))
            keys[place] = [content_id for content_id, _ in rows]
            vectors[place] = np.frombuffer(b"".join(vector for _, vector in rows), "<f4").reshape(-1, dim)
            size += len(rows)
        return keys[:size], vectors[:size]


def _root(row: sa.Row[Any]) -> Root:
    folder = _unsigned(row.device), _unsigned(row.inode)
    return Root(row.id, row.path, folder, row.watched_ns, row.latched, row.latched_at)


def _file(row: sa.Row[Any]) -> File:
    identity = FileIdentity(
        _unsigned(row.device), _unsigned(row.inode), row.size_bytes, row.mtime_ns, row.ctime_ns, row.links
    )
    path = row.folder + b"/" + row.name if row.folder else row.name
    return File(row.id, row.root_id, path, identity, row.content_id, row.state, row.standing, row.kept_ns)


def _identity_values(identity: FileIdentity) -> dict[str, int]:
    values = {name: getattr(identity, name) for name in FileIdentity.__slots__}
    return values | {"device": _signed(identity.device), "inode": _signed(identity.inode)}


def _signed(number: int) -> int:
    """Inode and device numbers have 64 bits without a sign, SQLite's integers have one."""
    return number - _2_TO_64 if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number % _2_TO_64
