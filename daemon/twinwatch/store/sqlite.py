"""The connection to SQLite: opening, migrating, and its errors as ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import sqlalchemy as sa

from twinwatch.errors import CatalogError, StorageError
from twinwatch.store.tables import HEAD, metadata

_NO_ROOM_BYTES = 1 << 16  # with less than this left, SQLite cannot make the files that it needs beside a database
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Our own statements meet these only where the schema or a text is damaged. For a text, Python gives no code.
_CHANGED = (sqlite3.SQLITE_ERROR, 0)
_STORAGE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


_VERSIONS = "alembic_version"
_versions = sa.Table(_VERSIONS, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def connect(path: Path) -> sa.Connection:
    """Open, and where needed create or migrate, the database at `path`.

    Raises CatalogError where it is damaged, unreadable or newer than this version, StorageError where its disk is full
    or failing, or another program has locked it; so does whatever is done over the connection.
    """
    # SQLite would make a file that everyone can read. Ours is made without being opened, as closing a descriptor of a
    # database drops SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2).
    with contextlib.suppress(OSError):
        os.mknod(path, stat.S_IFREG | 0o640)
    # QueuePool would hand a connection to another thread; each store has one of its own.
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
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python begins no transaction before CREATE TABLE
    empty = not sa.inspect(connection).get_table_names()
    if empty:
        _versions.create(connection)
        connection.execute(sa.insert(_versions).values(version_num=HEAD))
        metadata.create_all(connection)
    connection.commit()
    return empty


def _upgrade(connection: sa.Connection, path: Path) -> None:
    from alembic import command  # takes long to load, and is needed once
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise _damaged(path, error) from None
