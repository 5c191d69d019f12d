"""The catalogue on real SQLite: its schema, its queue, its names of any bytes, and several connections at once."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from daemon_site import fill_disk, mounted
from store.contract import BUNDLE, CASE, SEEN, StoreContract, content, put
from twinwatch.errors import CatalogError, StorageError
from twinwatch.store import (
    FileState,
    QueueState,
    Root,
    Store,
    open_store,
    tables,
)
from twinwatch.store.tables import files, metadata


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: open_store(tmp_path / "catalog.db")

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Iterator[Store]:
        store = open_store()
        yield store
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "catalog.db")
    yield store
    store.close()


@pytest.fixture
def root(store: Store) -> Root:
    return store.roots.add(Path("/srv"), (1, 2), 5)


def test_the_migrations_make_the_schema(store: Store, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.connect() as connection:
        _migrate(connection, "head")
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == tables.HEAD
        # Alembic cannot compare an index on an expression, so that one is compared as text.
        options = {"include_object": lambda _thing, name, *_: name not in ("files_queue", "alembic_version"),
                   "compare_type": True}  # fmt: skip
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        migrated, columns = _indexes(connection), _columns(connection)
    fresh = sa.create_engine("sqlite://")
    with fresh.connect() as connection:
        metadata.create_all(connection)
        assert migrated == _indexes(connection)
        assert columns == _columns(connection)
    assert differences == []
    assert "files_queue" in migrated
    assert store.check() == "ok"
    with sa.create_engine(f"sqlite:///{tmp_path / 'catalog.db'}").connect() as connection:
        assert migrated == _indexes(connection)
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == tables.HEAD


def _migrate(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(tables.__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    connection.commit()


def _indexes(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
    return {row.name: " ".join(row.sql.split()) for row in rows}


def _columns(connection: sa.Connection) -> dict[str, list[Any]]:
    """Name, type, whether null is allowed, default and place in the primary key of every column."""
    return {
        name: [tuple(row) for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")]
        for name in metadata.tables
    }


def test_an_earlier_catalogue_is_migrated_and_its_dismissals_get_their_time(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        _migrate(connection, "0001")
        known = {name: value for name, value in asdict(CASE).items() if name != "event_at"}
        for case_id, state, sha256 in (("1", "dismissed", "aa"), ("2", "dismissed", "cc"), ("3", "done", "aa")):
            values = known | {"id": case_id, "state": state, "sha256": sha256}
            columns = [column for column in metadata.tables["verdicts"].c if column.name in values]
            connection.execute(
                sa.insert(sa.table("verdicts", *(sa.column(column.name, column.type) for column in columns))), [values]
            )
        for one, other, time in (("aa", "bb", "then"), ("bb", "cc", "later")):
            connection.execute(sa.insert(metadata.tables["dismissals"]).values(one=one, other=other, time=time))
        connection.commit()
    store = open_store(path)
    assert [case.event_at for case in store.verdicts.all()] == ["then", "later", None]
    assert {"files_found", "files_state"} <= _indexes(store._connection).keys()
    store.close()


def test_others_cannot_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = open_store(tmp_path / "catalog.db")
        store.roots.add(Path("/srv"), (1, 2), 5)
        store.commit()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert modes == {"catalog.db": 0o640, "catalog.db-wal": 0o640, "catalog.db-shm": 0o640}


def test_it_can_be_opened_again(tmp_path: Path) -> None:
    first = open_store(tmp_path / "50%.db")  # alembic's configuration knows % as a sign of its own
    first.roots.add(Path("/srv"), (1, 2), 5)
    first.commit()
    first.close()
    second = open_store(tmp_path / "50%.db")
    assert [root.path for root in second.roots.all()] == [b"/srv"]
    assert second.check() == "ok"
    second.close()


# What cannot be used


@pytest.mark.parametrize("damage", [b"this is no database" * 300, os.urandom(8192)])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "catalog.db").write_bytes(damage)
    with pytest.raises(CatalogError, match=r"cannot use the catalogue .*twinwatch rebuild"):
        open_store(tmp_path / "catalog.db")
    assert (tmp_path / "catalog.db").read_bytes() == damage


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path: Path, store: Store) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'catalog.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="9999"):
        open_store(tmp_path / "catalog.db")


def test_a_place_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        open_store(tmp_path / "none" / "catalog.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CatalogError):
        open_store(tmp_path / "folder")


def test_damage_within_is_told_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    store = open_store(path)
    root = store.roots.add(Path("/srv"), (1, 2), 5)
    for number in range(150):
        store.queue.add(root.id, b"%d" % number + b"x" * 200, SEEN, False, number, QueueState.WAITING)
    store.commit()
    store.close()
    page_bytes = 4096
    data = bytearray(path.read_bytes())
    for page in range(8, len(data) // page_bytes):
        data[page * page_bytes : page * page_bytes + 200] = b"\xff" * 200
    path.write_bytes(data)
    damaged = open_store(path)
    assert damaged.check() != "ok"
    damaged.close()


def test_two_living_files_cannot_have_one_path(store: Store, root: Root) -> None:
    put(store, root, b"a")
    other = put(store, root, b"b")
    with pytest.raises(sa.exc.IntegrityError):
        store._connection.execute(sa.update(files).where(files.c.id == other.id).values(name=b"a"))


def test_embeddings_by_the_thousand_are_read_in_one_piece(
    store: Store, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinwatch.store.vectors.ROWS_AT_ONCE", 7)
    vectors = np.random.default_rng(0).normal(size=(50, 256)).astype(np.float32)
    for number, vector in enumerate(vectors):
        known = store.contents.add(content(f"{number}"))
        store.contents.add_embedding(known.id, "one", vector)
        put(store, root, b"%d" % number, state=FileState.GONE if number % 3 else FileState.KEPT, content_id=known.id)
    store.vectors.open(BUNDLE)
    keys, read = store.vectors.snapshot()
    assert read.dtype == np.float32
    assert len(keys) == 17
    for key, vector in zip(keys.tolist(), read, strict=True):
        found = store.contents.get(key)
        assert found is not None
        assert np.array_equal(vector, vectors[int(found.sha256)])
        assert int(found.sha256) % 3 == 0


def test_nothing_that_is_asked_all_the_time_looks_at_every_file(store: Store, root: Root) -> None:
    """SQLite uses an index of some files only where the query says in the same words which ones those are."""
    asked: list[str] = []

    def plan(_connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        asked.extend(row[3] for row in cursor)

    sa.event.listen(store._connection.engine, "before_cursor_execute", plan)
    store.files.in_folder(root.id, b"a")
    store.files.stats_in(root.id, b"a")
    store.files.folders(root.id)
    store.files.count(root.id)
    store.queue.add(root.id, b"a", SEEN, False, 1, QueueState.FOUND)
    store.files.at(root.id, b"a")
    store.queue.release_found()
    store.queue.count()
    store.counts()
    store.files.unreadable()
    assert len(asked) >= 10
    assert [step for step in asked if step.startswith("SCAN files") and "INDEX" not in step] == []
    asked.clear()
    store.queue.next(1, [root.id], [])
    assert asked[0] == "SCAN files USING INDEX files_queue"  # which need not be sorted


def test_a_full_disk_is_a_storage_error_that_can_be_tried_again(store: Store, root: Root) -> None:
    store.commit()
    pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar()
    store._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match=r"the disk of .*, which holds the catalogue, is full"):
        for number in range(200):
            put(store, root, b"%d" % number + b"x" * 200)
    store.rollback()
    store._connection.exec_driver_sql("PRAGMA max_page_count=100000")
    store.rollback()
    put(store, root, b"a")
    store.commit()
    assert store.counts() == {"kept": 1, "waiting": 0}


def test_a_start_on_a_full_disk_says_so_and_advises_nothing_that_would_cost_dismissals(tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)):
        open_store(tmp_path / "catalog.db").close()
        filler = fill_disk(tmp_path)
        with pytest.raises(StorageError, match=f"the disk of {tmp_path}, which holds the catalogue, is full") as caught:
            open_store(tmp_path / "catalog.db")
        assert "rebuild" not in str(caught.value)
        filler.unlink()
        open_store(tmp_path / "catalog.db").close()


def test_a_lock_that_another_program_holds_is_called_so(store: Store, root: Root) -> None:
    store.commit()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._connection.exec_driver_sql("PRAGMA busy_timeout=50")
    with pytest.raises(StorageError, match="is locked by another program"):
        put(store, root, b"a")
    other.close()
