"""The catalogue on real SQLite: its schema, its queue, its names of any bytes, and several connections at once."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
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
from twinwatch.errors import CatalogError, StorageError
from twinwatch.fs import FileIdentity
from twinwatch.quarantine import split
from twinwatch.store import Catalog, Content, File, Root, UnreadableFile, Verdict, tables
from twinwatch.store.tables import metadata

SEEN = FileIdentity(1, 2, 300, 10**18, 10**18, 1)
CASE = Verdict(
    id="0" * 32, file_id=None, time="2024-01-02T03:04:05.000Z", root=b"/srv", path=b"a.jpg", sha256="aa",
    original_root=b"/srv", original_path=b"b.jpg", original_sha256="bb", kind="near", distance=0.25, cluster=3,
    evidence=0.9, edit="flipped", action="flagged", better=False,
)  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.db")
    yield catalog
    catalog.close()


@pytest.fixture
def root(catalog: Catalog) -> Root:
    return catalog.add_root(Path("/srv"), (1, 2), 5)


def content(sha256: str = "aa", **values: Any) -> Content:
    made = Content(0, sha256, 300, None, 640, 480, "JPEG", False)
    return replace(made, **values)


def put(catalog: Catalog, root: Root, path: bytes, state: str = "kept", **values: Any) -> File:
    """Make a file known that has been judged."""
    catalog.enqueue(root.id, path, SEEN, standing=False, arrived_ns=1, queue="waiting")
    file = catalog.file_at(root.id, path)
    assert file is not None
    catalog.set_file(file.id, **{"state": state, "queue": None} | values)
    found = catalog.file(file.id)
    assert found is not None
    return found


def test_the_migrations_make_the_schema(catalog: Catalog, tmp_path: Path) -> None:
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
    assert catalog.check() == "ok"
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
    catalog = Catalog(path)
    assert [case.event_at for case in catalog.cases.all()] == ["then", "later", None]
    assert {"files_found", "files_state"} <= _indexes(catalog._connection).keys()
    catalog.close()


def test_others_cannot_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        catalog = Catalog(tmp_path / "catalog.db")
        catalog.add_root(Path("/srv"), (1, 2), 5)
        catalog.commit()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        catalog.close()
    finally:
        os.umask(before)
    assert modes == {"catalog.db": 0o640, "catalog.db-wal": 0o640, "catalog.db-shm": 0o640}


def test_it_can_be_opened_again(tmp_path: Path) -> None:
    first = Catalog(tmp_path / "50%.db")  # alembic's configuration knows % as a sign of its own
    first.add_root(Path("/srv"), (1, 2), 5)
    first.commit()
    first.close()
    second = Catalog(tmp_path / "50%.db")
    assert [root.path for root in second.roots()] == [b"/srv"]
    assert second.check() == "ok"
    second.close()


# What cannot be used


@pytest.mark.parametrize("damage", [b"this is no database" * 300, os.urandom(8192)])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "catalog.db").write_bytes(damage)
    with pytest.raises(CatalogError, match=r"cannot use the catalogue .*twinwatch rebuild"):
        Catalog(tmp_path / "catalog.db")
    assert (tmp_path / "catalog.db").read_bytes() == damage


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'catalog.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="9999"):
        Catalog(tmp_path / "catalog.db")


def test_a_place_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        Catalog(tmp_path / "none" / "catalog.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CatalogError):
        Catalog(tmp_path / "folder")


def test_damage_within_is_told_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    catalog = Catalog(path)
    root = catalog.add_root(Path("/srv"), (1, 2), 5)
    for number in range(150):
        catalog.enqueue(root.id, b"%d" % number + b"x" * 200, SEEN, False, number, "waiting")
    catalog.commit()
    catalog.close()
    page_bytes = 4096
    data = bytearray(path.read_bytes())
    for page in range(8, len(data) // page_bytes):
        data[page * page_bytes : page * page_bytes + 200] = b"\xff" * 200
    path.write_bytes(data)
    damaged = Catalog(path)
    assert damaged.check() != "ok"
    damaged.close()


# Roots


def test_the_root_watched_last_comes_first(catalog: Catalog) -> None:
    first = catalog.add_root(Path("/srv/a"), (1, 2), 5)
    second = catalog.add_root(Path("/srv/a"), (1, 3), 6)
    other = catalog.add_root(Path("/srv/b"), (1, 4), 7)
    assert catalog.roots() == [other, second, first]
    assert catalog.roots(Path("/srv/a")) == [second, first]
    catalog.set_root(first.id, latched="look", latched_at="now")
    assert catalog.roots(Path("/srv/a"))[1].latched == "look"


@pytest.mark.parametrize("name", ["caf\udce9", "new\nline", "50%", "'"])
def test_a_root_may_have_any_name(catalog: Catalog, name: str) -> None:
    root = catalog.add_root(Path("/srv") / name, (1, 2), 5)
    assert catalog.roots(Path("/srv") / name) == [root]
    assert root.path == os.fsencode(f"/srv/{name}")


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_root_has_inode_and_device_numbers_of_64_bits(catalog: Catalog, number: int) -> None:
    root = catalog.add_root(Path("/srv"), (number, number), 5)
    assert catalog.roots(Path("/srv")) == [root]
    assert root.folder == (number, number)


# Files


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_file_has_inode_and_device_numbers_of_64_bits(catalog: Catalog, root: Root, number: int) -> None:
    """Some network and FUSE file systems hash into all 64 bits; SQLite's integers have a sign."""
    seen = replace(SEEN, device=number, inode=number)
    catalog.enqueue(root.id, b"a.jpg", seen, standing=False, arrived_ns=1, queue="waiting")
    file = catalog.file_at(root.id, b"a.jpg")
    assert file is not None
    assert file.identity == seen
    other = put(catalog, root, b"b.jpg", device=5)
    assert [found.id for found in catalog.same_inode(other, seen)] == [file.id]


@pytest.mark.parametrize("mtime_ns", [-(10**18), 0, 2**62])
def test_a_file_may_have_any_time(catalog: Catalog, root: Root, mtime_ns: int) -> None:
    seen = replace(SEEN, mtime_ns=mtime_ns)
    catalog.enqueue(root.id, b"a.jpg", seen, standing=True, arrived_ns=mtime_ns, queue="waiting")
    file = catalog.file_at(root.id, b"a.jpg")
    assert file is not None
    assert file.identity == seen


@pytest.mark.parametrize("path", [b"a.jpg", b"sub/a.jpg", b"caf\xe9/\xff\xfe.jpg", b"new\nline/\x1b[31m.jpg", b"'; --"])
def test_a_file_is_found_by_its_path_of_any_bytes(catalog: Catalog, root: Root, path: bytes) -> None:
    catalog.enqueue(root.id, path, SEEN, standing=False, arrived_ns=7, queue="waiting")
    catalog.commit()
    file = catalog.file_at(root.id, path)
    assert file is not None
    assert (file.path, file.identity, file.state, file.standing) == (path, SEEN, "new", False)
    folder, name = split(path)
    assert catalog.files_in(root.id, folder) == {name: file}
    assert catalog.folders(root.id) == [folder]


def test_standing_files_come_by_time_then_name_and_before_all_others(catalog: Catalog, root: Root) -> None:
    for path, standing, arrived_ns in (
        (b"late", False, 9), (b"early", False, 1), (b"b", True, 5), (b"a", True, 5), (b"z", True, 2),
        (b"sub/a", True, 5), (b"newest", True, 8),
    ):  # fmt: skip
        catalog.enqueue(root.id, path, SEEN, standing, arrived_ns, "waiting")
    waiting = catalog.waiting(100, [root.id], [])
    assert [file.path for file in waiting] == [b"z", b"a", b"b", b"sub/a", b"newest", b"early", b"late"]
    assert catalog.waiting(2, [root.id], []) == waiting[:2]
    assert catalog.waiting(2, [root.id], [waiting[0].id]) == waiting[1:3]
    assert catalog.waiting(100, [root.id + 1], []) == []
    assert catalog.waiting_count() == 7


def test_what_the_first_scan_found_waits_until_it_is_released(catalog: Catalog, root: Root) -> None:
    catalog.enqueue(root.id, b"a", SEEN, standing=True, arrived_ns=1, queue="found")
    assert catalog.waiting(10, [root.id], []) == []
    assert catalog.waiting_count() == 1
    catalog.release_found()
    assert [file.path for file in catalog.waiting(10, [root.id], [])] == [b"a"]


def test_a_changed_file_is_queued_again_under_the_same_number(catalog: Catalog, root: Root) -> None:
    file = put(catalog, root, b"a", standing=True)
    grown = replace(SEEN, size_bytes=301)
    catalog.enqueue(root.id, b"a", grown, standing=False, arrived_ns=9, queue="waiting")
    (again,) = catalog.waiting(10, [root.id], [])
    assert (again.id, again.identity, again.state, again.standing) == (file.id, grown, "kept", True)


def test_a_path_is_free_again_when_its_file_is_gone(catalog: Catalog, root: Root) -> None:
    for state in ("gone", "quarantined"):
        put(catalog, root, b"a", state)
        assert catalog.file_at(root.id, b"a") is None
        assert catalog.files_in(root.id, b"") == {}
        assert catalog.folders(root.id) == []
    put(catalog, root, b"a")
    assert catalog.counts() == {"gone": 1, "kept": 1, "waiting": 0}


def test_what_is_in_quarantine_is_counted_by_the_verdicts_that_are_listed(catalog: Catalog, root: Root) -> None:
    """After a rebuild no file is known of it."""
    for number, (state, action) in enumerate(
        [("done", "quarantined"), ("done", "quarantined"), ("done", "flagged"), ("restored", "quarantined")]
    ):
        catalog.cases.add(replace(CASE, id=str(number), state=state, action=action))
    assert [case.id for case in catalog.cases.quarantined()] == ["0", "1"]
    assert catalog.counts() == {"quarantined": 2, "waiting": 0}


def test_what_was_ever_seen_at_a_path_counts_over_all_folders_that_were_there(catalog: Catalog, root: Root) -> None:
    put(catalog, root, b"a", "gone")
    put(catalog, catalog.add_root(Path("/srv"), (1, 3), 6), b"a")
    put(catalog, catalog.add_root(Path("/other"), (1, 4), 6), b"a")
    assert catalog.ever_seen(Path("/srv")) == 2
    assert catalog.ever_seen(Path("/none")) == 0


def test_two_living_files_cannot_have_one_path(catalog: Catalog, root: Root) -> None:
    put(catalog, root, b"a")
    other = put(catalog, root, b"b")
    with pytest.raises(sa.exc.IntegrityError):
        catalog.set_file(other.id, name=b"a")


def test_a_renamed_file_keeps_its_number_and_takes_the_place_of_another(catalog: Catalog, root: Root) -> None:
    moved, there = put(catalog, root, b"sub/a"), put(catalog, root, b"b")
    seen = replace(SEEN, ctime_ns=SEEN.ctime_ns + 1)
    catalog.place_file(moved.id, root.id, b"b", seen, state="restored")
    file = catalog.file_at(root.id, b"b")
    assert file == replace(moved, path=b"b", identity=seen, state="restored")
    assert catalog.file_at(root.id, b"sub/a") is None
    gone = catalog.file(there.id)
    assert gone is not None
    assert gone.state == "gone"


def test_a_file_placed_where_it_is_stays(catalog: Catalog, root: Root) -> None:
    file = put(catalog, root, b"a")
    catalog.place_file(file.id, root.id, b"a", SEEN)
    assert catalog.file_at(root.id, b"a") == file


def test_the_same_inode_is_found_also_where_it_is_gone(catalog: Catalog, root: Root) -> None:
    kept, gone = put(catalog, root, b"a"), put(catalog, root, b"b", "gone")
    put(catalog, root, b"c", "quarantined")
    put(catalog, root, b"d", inode=99)
    put(catalog, root, b"e", device=99)
    newcomer = put(catalog, root, b"f")
    assert {file.id for file in catalog.same_inode(newcomer, SEEN)} == {kept.id, gone.id}


def test_originals_never_flagged_come_first_then_the_oldest(catalog: Catalog, root: Root) -> None:
    known = catalog.add_content(content())
    for path, state, kept_ns in (
        (b"flagged", "duplicate", 1), (b"young", "kept", 9), (b"old", "restored", 3),
        (b"gone", "gone", 2), (b"moved", "quarantined", 2), (b"link", "link", 2), (b"new", "new", 2),
    ):  # fmt: skip
        put(catalog, root, path, state, content_id=known.id, kept_ns=kept_ns)
    put(catalog, root, b"queued", content_id=known.id, kept_ns=2, queue="waiting")
    put(catalog, root, b"copy", content_id=known.id, kept_ns=0)
    holders = catalog.holders([known.id, 99])
    assert [file.path for file in holders[known.id].originals] == [b"copy", b"old", b"young", b"flagged"]
    assert [file.path for file in holders[known.id].queued] == [b"queued"]
    assert not holders[99].originals
    assert catalog.has_living(known.id)
    assert not catalog.has_living(known.id + 1)


# Contents and embeddings


def test_a_content_is_known_by_its_bytes(catalog: Catalog) -> None:
    known = catalog.add_content(content())
    assert catalog.content(known.id) == known
    assert catalog.content_of("aa") == known
    assert catalog.content_of("bb") is None
    later = catalog.add_content(content(reason="damaged", width=0))
    assert later.id == known.id
    assert catalog.content_of("aa") == later


def test_only_what_this_bundle_embedded_needs_no_decoding(catalog: Catalog) -> None:
    embedded, bare, broken = (catalog.add_content(content(name)) for name in ("aa", "bb", "cc"))
    catalog.add_content(content("cc", reason="damaged"))
    catalog.add_embedding(embedded.id, "one", np.zeros(256, np.float32))
    assert broken.id != bare.id
    assert catalog.known_sha256(300, "one") == {"aa", "cc"}
    assert catalog.known_sha256(300, "two") == {"cc"}
    assert catalog.known_sha256(301, "one") == frozenset()


def test_hashes_of_one_size_are_not_handed_out_by_the_thousand(catalog: Catalog) -> None:
    for number in range(500):
        catalog.add_content(content(f"{number}", reason="damaged"))
    assert len(catalog.known_sha256(300, "one")) == 500
    catalog.add_content(content("one more", reason="damaged"))
    assert catalog.known_sha256(300, "one") == frozenset()


def test_an_embedding_is_read_as_it_was_written_and_by_its_bundle_only(catalog: Catalog, root: Root) -> None:
    vector = np.random.default_rng(0).normal(size=256).astype(np.float32)
    known, blank = catalog.add_content(content()), catalog.add_content(content("bb", blank=True))
    for one in (known, blank):
        catalog.add_embedding(one.id, "one", vector)
    catalog.add_embedding(known.id, "one", vector + 1)  # the first stays
    found = catalog.embedding(known.id, "one")
    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, vector)
    assert catalog.embedding(known.id, "two") is None

    assert len(catalog.living_embeddings("one", 256)[0]) == 0  # no living file holds it
    file = put(catalog, root, b"a", content_id=known.id)
    put(catalog, root, b"b", content_id=blank.id)
    keys, vectors = catalog.living_embeddings("one", 256)
    assert keys.tolist() == [known.id]
    assert np.array_equal(vectors, [vector])
    catalog.set_file(file.id, state="quarantined")
    assert len(catalog.living_embeddings("one", 256)[0]) == 0


def test_embeddings_by_the_thousand_are_read_in_one_piece(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinwatch.store.catalog._ROWS_AT_ONCE", 7)
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    for number, vector in enumerate(vectors):
        known = catalog.add_content(content(f"{number}"))
        catalog.add_embedding(known.id, "one", vector)
        put(catalog, root, b"%d" % number, content_id=known.id, state="gone" if number % 3 else "kept")
    keys, read = catalog.living_embeddings("one", 8)
    assert read.dtype == np.float32
    assert len(keys) == 17
    for key, vector in zip(keys.tolist(), read, strict=True):
        found = catalog.content(key)
        assert found is not None
        assert np.array_equal(vector, vectors[int(found.sha256)])
        assert int(found.sha256) % 3 == 0


def test_the_version_changes_with_every_change_and_only_then(catalog: Catalog, root: Root) -> None:
    catalog.commit()
    beside = Catalog(catalog.path)
    seen = [beside.version()]
    assert beside.version() == seen[-1]
    beside.release_found()
    beside.commit()
    catalog.release_found()
    catalog.commit()
    assert beside.version() == seen[-1]
    for changed in (catalog, beside):
        put(changed, root, b"a")
        changed.commit()
        assert beside.version() not in seen
        seen.append(beside.version())
    beside.close()


def test_nothing_that_is_asked_all_the_time_looks_at_every_file(catalog: Catalog, root: Root) -> None:
    """SQLite uses an index of some files only where the query says in the same words which ones those are."""
    asked: list[str] = []

    def plan(_connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        asked.extend(row[3] for row in cursor)

    sa.event.listen(catalog._connection.engine, "before_cursor_execute", plan)
    catalog.files_in(root.id, b"a")
    catalog.facts_in(root.id, b"a")
    catalog.folders(root.id)
    catalog.files_count(root.id)
    catalog.enqueue(root.id, b"a", SEEN, False, 1, "found")
    catalog.file_at(root.id, b"a")
    catalog.release_found()
    catalog.waiting_count()
    catalog.counts()
    catalog.unreadable()
    assert len(asked) >= 10
    assert [step for step in asked if step.startswith("SCAN files") and "INDEX" not in step] == []
    asked.clear()
    catalog.waiting(1, [root.id], [])
    assert asked[0] == "SCAN files USING INDEX files_queue"  # which need not be sorted


def test_what_a_new_bundle_has_not_embedded_is_listed_once(catalog: Catalog, root: Root) -> None:
    done, bare, broken = (catalog.add_content(content(name)) for name in ("aa", "bb", "cc"))
    catalog.add_content(content("cc", reason="damaged"))
    catalog.add_embedding(done.id, "new", np.zeros(256, np.float32))
    put(catalog, root, b"done", content_id=done.id)
    put(catalog, root, b"broken", content_id=broken.id)
    first, second = (put(catalog, root, path, content_id=bare.id) for path in (b"bare", b"bare2"))
    (found,) = catalog.lacking_embedding("new", 10, [root.id], [])
    assert found.id in (first.id, second.id)
    assert len(catalog.lacking_embedding("old", 10, [root.id], [])) == 2
    assert len(catalog.lacking_embedding("old", 1, [root.id], [])) == 1
    assert catalog.lacking_embedding("new", 10, [root.id], [first.id, second.id]) == []
    assert catalog.lacking_embedding("new", 10, [root.id + 1], []) == []


# Verdicts


def test_a_verdict_is_read_as_it_was_written(catalog: Catalog) -> None:
    case = replace(CASE, path=b"caf\xe9\n.jpg", original_path=b"\xff", quarantined_to=b"\xfe", restored_to=b"\xfd")
    catalog.cases.add(case)
    assert catalog.cases.get(case.id) == case
    catalog.cases.set(case.id, state="done")
    assert catalog.cases.get(case.id) == replace(case, state="done")
    catalog.cases.drop(case.id)
    assert catalog.cases.get(case.id) is None


def test_verdicts_are_listed_oldest_first(catalog: Catalog, root: Root) -> None:
    file = put(catalog, root, b"a", "duplicate")
    cases = [
        replace(CASE, id=str(day), time=f"2024-01-0{day}T00:00:00.000Z", file_id=file.id, state=state, logged=logged)
        for day, state, logged in ((3, "done", "done"), (1, "pending", ""), (2, "restored", "done"))
    ]
    for case in cases:
        catalog.cases.add(case)
    third, first, second = cases
    assert catalog.cases.all() == [first, second, third]
    assert catalog.cases.all(state="done") == [third]
    assert catalog.cases.all(since="2024-01-02T00:00:00.000Z") == [second, third]
    assert catalog.cases.latest_of([file.id, file.id + 1]) == {file.id: third}
    assert catalog.cases.latest_of([]) == {}
    assert catalog.cases.unlogged() == [second]
    assert catalog.cases.standing([root.id]) == [third]
    assert catalog.cases.standing([root.id + 1]) == []
    catalog.set_file(file.id, state="gone")
    assert catalog.cases.standing([root.id]) == []


def test_unreadable_files_are_listed_with_their_reasons(catalog: Catalog, root: Root) -> None:
    put(catalog, root, b"b/x", "unreadable", refusal="damaged")
    put(catalog, root, b"a", "unreadable")
    put(catalog, root, b"c")
    found = [UnreadableFile(b"/srv/a", ""), UnreadableFile(b"/srv/b/x", "damaged")]
    assert catalog.unreadable([root.id]) == catalog.unreadable() == found
    assert catalog.unreadable([]) == []


def test_a_dismissal_counts_both_ways(catalog: Catalog) -> None:
    catalog.cases.dismiss("bb", "aa", "then")
    assert catalog.cases.dismissed("aa", ["bb", "cc"]) == {"bb"}
    assert catalog.cases.dismissed("bb", ["aa", "cc"]) == {"aa"}
    assert catalog.cases.dismissed("cc", ["aa", "bb"]) == set()
    catalog.cases.dismiss("aa", "bb", "later")
    assert catalog.cases.dismissals() == [("aa", "bb", "then")]


# Transactions and connections


def test_what_is_rolled_back_never_was(catalog: Catalog, root: Root) -> None:
    catalog.commit()
    put(catalog, root, b"a")
    catalog.rollback()
    assert catalog.file_at(root.id, b"a") is None
    assert [known.id for known in catalog.roots()] == [root.id]


def test_what_is_not_committed_is_lost_at_the_close_and_the_rest_is_kept(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    root = catalog.add_root(Path("/srv"), (1, 2), 5)
    catalog.commit()
    put(catalog, root, b"a")
    catalog.close()
    again = Catalog(tmp_path / "catalog.db")
    assert again.roots() == [root]
    assert again.file_at(root.id, b"a") is None
    again.close()


def test_another_connection_sees_what_is_committed_and_nothing_else(tmp_path: Path, catalog: Catalog) -> None:
    other = Catalog(tmp_path / "catalog.db")
    catalog.add_root(Path("/srv"), (1, 2), 5)
    assert other.roots() == []  # and it need not wait
    other.rollback()
    catalog.commit()
    assert len(other.roots()) == 1
    other.close()


@pytest.mark.parametrize("folders", [4, 1])
def test_several_threads_write_beside_each_other(tmp_path: Path, catalog: Catalog, root: Root, folders: int) -> None:
    """Each in a folder of its own, or all of them the same files, as events and a scan may at once."""
    catalog.commit()
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        mine = Catalog(tmp_path / "catalog.db")
        try:
            for number in range(20):
                mine.enqueue(root.id, b"%d/%d" % (thread % folders, number), SEEN, False, number, "waiting")
                mine.commit()
        except (sa.exc.SQLAlchemyError, CatalogError) as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert catalog.waiting_count() == 20 * folders


def test_a_full_disk_is_a_storage_error_that_can_be_tried_again(catalog: Catalog, root: Root) -> None:
    catalog.commit()
    pages = catalog._connection.exec_driver_sql("PRAGMA page_count").scalar()
    catalog._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match=r"the disk of .*, which holds the catalogue, is full"):
        for number in range(200):
            put(catalog, root, b"%d" % number + b"x" * 200)
    catalog.rollback()
    catalog._connection.exec_driver_sql("PRAGMA max_page_count=100000")
    catalog.rollback()
    put(catalog, root, b"a")
    catalog.commit()
    assert catalog.counts() == {"kept": 1, "waiting": 0}


def test_a_start_on_a_full_disk_says_so_and_advises_nothing_that_would_cost_dismissals(tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)):
        Catalog(tmp_path / "catalog.db").close()
        filler = fill_disk(tmp_path)
        with pytest.raises(StorageError, match=f"the disk of {tmp_path}, which holds the catalogue, is full") as caught:
            Catalog(tmp_path / "catalog.db")
        assert "rebuild" not in str(caught.value)
        filler.unlink()
        Catalog(tmp_path / "catalog.db").close()


def test_a_lock_that_another_program_holds_is_called_so(catalog: Catalog, root: Root) -> None:
    catalog.commit()
    other = sqlite3.connect(catalog.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    catalog._connection.exec_driver_sql("PRAGMA busy_timeout=50")
    with pytest.raises(StorageError, match="is locked by another program"):
        put(catalog, root, b"a")
    other.close()
