"""The catalogue's tables, and the connection to them. Alembic's migrations create them; a test holds both the same."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import sqlalchemy as sa

from twinwatch.errors import CatalogError, StorageError

_NO_ROOM_BYTES = 1 << 16  # with less than this left, SQLite cannot even make the files it needs beside a database
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Our own statements meet these only where a name in the schema, or a text, is not what was written there; Python gives
# no code for a text.
_CHANGED = (sqlite3.SQLITE_ERROR, 0)
_STORAGE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

# Queries have to say most of these in the same words, or SQLite does not see that an index of such files serves them.
PRESENT = "state NOT IN ('gone', 'quarantined')"
ORIGINAL = "state IN ('kept', 'duplicate', 'restored')"
FOUND = "queue = 'found'"
WAITING = "queue = 'waiting'"

HEAD = "0004"
"""The latest of the migrations."""

metadata = sa.MetaData()

# Paths are bytes: a Linux name need not be text. Times end in _ns where they are numbers, RFC 3339 where they are text.
# A root is a folder, not a path: what is mounted over it, or made in its place, is another root.
roots = sa.Table(
    "roots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("device", sa.Integer, nullable=False),
    sa.Column("inode", sa.Integer, nullable=False),
    sa.Column("watched_ns", sa.Integer, nullable=False),
    sa.Column("latched", sa.Text),
    sa.Column("latched_at", sa.Text),
    sa.UniqueConstraint("path", "device", "inode"),
)
# What a sequence of bytes holds, whichever files have it; `reason` says why it is no picture. `blank`: what its pixels
# show must not be compared, as it is uniform, or the first of several frames or pages.
contents = sa.Table(
    "contents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.Integer, nullable=False, index=True),
    sa.Column("reason", sa.Text),
    sa.Column("width", sa.Integer, nullable=False, server_default="0"),
    sa.Column("height", sa.Integer, nullable=False, server_default="0"),
    sa.Column("format", sa.Text, nullable=False, server_default=""),
    sa.Column("blank", sa.Boolean, nullable=False, server_default=sa.false()),
)
embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("content_id", sa.Integer, sa.ForeignKey("contents.id"), primary_key=True),
    sa.Column("bundle_id", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
# state: new, kept, duplicate, restored, link, unreadable; gone and quarantined ones have left their path.
# queue: found (waits for the first scan to end), waiting (to be judged), or null.
files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.Integer, sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("folder", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.LargeBinary, nullable=False),
    sa.Column("device", sa.Integer, nullable=False),
    sa.Column("inode", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("ctime_ns", sa.Integer, nullable=False),
    sa.Column("links", sa.Integer, nullable=False),
    sa.Column("content_id", sa.Integer, sa.ForeignKey("contents.id"), index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("refusal", sa.Text),
    sa.Column("standing", sa.Boolean, nullable=False),
    sa.Column("queue", sa.Text),
    sa.Column("arrived_ns", sa.Integer, nullable=False),
    sa.Column("kept_ns", sa.Integer),
    sa.Index("files_inode", "inode", "device"),
    sa.Index(
        "files_path",
        "root_id",
        "folder",
        "name",
        unique=True,
        sqlite_where=sa.text(PRESENT),
    ),
    sa.Index(
        "files_queue",
        sa.text("standing DESC"),
        "arrived_ns",
        "folder",
        "name",
        sqlite_where=sa.text(WAITING),
    ),
    sa.Index("files_found", "queue", sqlite_where=sa.text(FOUND)),
    sa.Index("files_state", "state", "content_id"),
)
# state: pending, done, restoring, restored, dismissed, removed; event_at: when one of the last three happened; logged:
# the last event of it that the duplicates log holds.
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("file_id", sa.Integer, sa.ForeignKey("files.id"), index=True),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("original_root", sa.LargeBinary, nullable=False),
    sa.Column("original_path", sa.LargeBinary, nullable=False),
    sa.Column("original_sha256", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("distance", sa.Float),
    sa.Column("cluster", sa.Integer),
    sa.Column("evidence", sa.Float),
    sa.Column("edit", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("better", sa.Boolean, nullable=False),
    sa.Column("quarantined_to", sa.LargeBinary),
    sa.Column("restored_to", sa.LargeBinary),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("logged", sa.Text, nullable=False, server_default=""),
    sa.Column("event_at", sa.Text),
    sa.Index("verdicts_state", "state", "logged"),
)
# Files that a search did not find in place, and since when files were kept that may be copies of them.
missed = sa.Table(
    "missed",
    metadata,
    sa.Column("file_id", sa.Integer, primary_key=True),
    sa.Column("since_ns", sa.Integer, nullable=False),
)
# Pairs of contents that a person called no duplicates; one <= other.
dismissals = sa.Table(
    "dismissals",
    metadata,
    sa.Column("one", sa.Text, primary_key=True),
    sa.Column("other", sa.Text, primary_key=True),
    sa.Column("time", sa.Text, nullable=False),
)


_VERSIONS = "alembic_version"
_versions = sa.Table(_VERSIONS, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def connect(path: Path) -> sa.Connection:
    """Open, and where needed create or migrate, the database at `path`.

    Raises CatalogError where it is damaged, unreadable or newer than this version, StorageError where its disk is full
    or failing, or another program has locked it; so does whatever is done over the connection.
    """
    # Made before SQLite makes it, as that would let everyone read it; an open file must not be closed beside SQLite,
    # which would lose its locks (sqlite.org/howtocorrupt.html, 2.2), so it is made without opening it.
    with contextlib.suppress(OSError):
        os.mknod(path, stat.S_IFREG | 0o640)
    # QueuePool would hand a connection to another thread; each Catalog has its own one.
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool, connect_args={"timeout": 30})
    try:
        connection = engine.connect()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        _migrate(connection, path)
    except sa.exc.OperationalError as error:
        if _code(error) in _STORAGE or _is_full(path):
            raise _storage_error(path, error) from None
        raise _damaged(path, error.orig) from None
    except (sa.exc.DatabaseError, UnicodeDecodeError) as error:
        reason = error.orig if isinstance(error, sa.exc.DatabaseError) else error
        raise _damaged(path, reason) from None

    def translate(context: sa.engine.ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if isinstance(context.original_exception, UnicodeDecodeError):  # within a message of SQLite's
            raise _damaged(path, context.original_exception) from None
        if isinstance(error, sa.exc.OperationalError) and (_code(error) not in _CHANGED or _is_full(path)):
            raise _storage_error(path, error) from None
        if isinstance(error, sa.exc.DatabaseError) and _code(error) in (*_DAMAGE, *_CHANGED):
            raise _damaged(path, error.orig) from None

    sa.event.listen(engine, "handle_error", translate)
    return connection


def _damaged(path: Path, reason: object) -> CatalogError:
    return CatalogError(f"cannot use the catalogue {path}: {reason}; stop the daemon and run `twinwatch rebuild`")


def _storage_error(path: Path, error: sa.exc.OperationalError) -> StorageError:
    if _code(error) == sqlite3.SQLITE_FULL or _is_full(path):
        return StorageError(f"the disk of {path.parent}, which holds the catalogue, is full; make room there")
    if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageError(f"the catalogue {path} is locked by another program; try again")
    return StorageError(f"the catalogue {path} cannot be used just now: {error.orig}")


def _code(error: sa.exc.DatabaseError) -> int:
    """Return SQLite's primary result code (sqlite.org/rescode.html)."""
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF


def _is_full(path: Path) -> bool:
    try:
        space = os.statvfs(path.parent)
    except OSError:
        return False  # no such folder, or none for us
    return space.f_bavail * space.f_frsize < _NO_ROOM_BYTES


def _migrate(connection: sa.Connection, path: Path) -> None:
    """Make the tables, or bring earlier ones up to date. Raises CatalogError where the version is not known."""
    if _version(connection) != HEAD and not _made(connection):
        _upgrade(connection, path)
    connection.commit()


def _version(connection: sa.Connection) -> str | None:
    known = sa.inspect(connection).has_table(_VERSIONS)
    return connection.scalar(sa.select(_versions.c.version_num)) if known else None


def _made(connection: sa.Connection) -> bool:
    """Make the tables of an empty database, all or none; False where there are some."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # which Python leaves out before it makes a table
    empty = not sa.inspect(connection).get_table_names()
    if empty:
        _versions.create(connection)
        connection.execute(sa.insert(_versions).values(version_num=HEAD))
        metadata.create_all(connection)
    connection.commit()
    return empty


def _upgrade(connection: sa.Connection, path: Path) -> None:
    from alembic import command  # which takes long to load, and is needed once
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise _damaged(path, error) from None
