"""The catalogue in SQLite: one connection, and the parts of the contract over it. See `base` for what each promises."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from twinwatch.errors import CatalogError
from twinwatch.store.base import Store
from twinwatch.store.contents import SqlContents
from twinwatch.store.files import SqlFiles
from twinwatch.store.missing import SqlMissing
from twinwatch.store.queue import SqlQueue
from twinwatch.store.roots import SqlRoots
from twinwatch.store.sqlite import connect
from twinwatch.store.tables import files
from twinwatch.store.values import FileState
from twinwatch.store.vectors import SqlVectors
from twinwatch.store.verdicts import SqlDismissals, SqlVerdicts

_CHECK_CACHE_KB = 200_000  # with SQLite's usual 2 MB, checking the indexes of a large catalogue takes twice as long


def open_store(path: Path) -> Store:
    """Open, and where needed create or migrate, the catalogue at `path`.

    Raises CatalogError where the file is damaged, unreadable or newer than this version, StorageError where its disk
    is full or failing or another program has locked it.
    """
    return SqliteStore(path)


class SqliteStore:
    """A connection of its own, for the thread that opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connection = connect(path)
        self.roots = SqlRoots(connection)
        self.queue = SqlQueue(connection)
        self.vectors = SqlVectors(connection)
        self.files = SqlFiles(connection, self.queue, self.vectors)
        self.contents = SqlContents(connection)
        self.verdicts = SqlVerdicts(connection)
        self.dismissals = SqlDismissals(connection)
        self.missing = SqlMissing(connection)

    def commit(self) -> None:
        self._connection.commit()
        self.vectors.commit()

    def rollback(self) -> None:
        self._connection.rollback()
        self.vectors.rollback()

    def close(self) -> None:
        self._connection.rollback()
        self._connection.close()

    def version(self) -> tuple[int, int]:
        """Return SQLite's count of other connections' changes, and of this one's."""
        others = self._connection.exec_driver_sql("PRAGMA data_version").scalar()
        driver = self._connection.connection.driver_connection
        assert driver is not None
        return int(others or 0), int(driver.total_changes)

    def check(self) -> str:
        """Run SQLite's integrity check and look for unknown states. Returns `ok` or the first problem."""
        self._connection.exec_driver_sql(f"PRAGMA cache_size=-{_CHECK_CACHE_KB}")
        unknown_states = sa.select(sa.func.count()).where(files.c.state.not_in(list(FileState)))
        try:
            found = str(self._connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
            unknown = self._connection.scalar(unknown_states)
        except CatalogError:
            return "it is damaged"
        finally:
            self._connection.rollback()
        return found if found != "ok" or not unknown else f"{unknown} files are in no known state"

    def make_durable(self) -> None:
        self._connection.commit()
        self._connection.exec_driver_sql("PRAGMA synchronous=FULL")

    def counts(self) -> dict[str, int]:
        # After a rebuild only the verdicts know of what lies in quarantine.
        query = (
            sa.select(files.c.state, sa.func.count())
            .where(files.c.state != FileState.QUARANTINED)
            .group_by(files.c.state)
        )
        result = {str(state): int(count) for state, count in self._connection.execute(query)}
        quarantined = self.verdicts.quarantined_count()
        return result | ({"quarantined": quarantined} if quarantined else {}) | {"waiting": self.queue.count()}
