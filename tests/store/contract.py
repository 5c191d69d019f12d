"""The store's contract as tests: a class that the tests of every back end inherit.

A back end gives the fixtures `open_store`, which opens the same catalogue again and again, and `store`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from twinwatch.errors import CatalogError
from twinwatch.fs import FileIdentity, split
from twinwatch.store import (
    Action,
    Content,
    Dismissal,
    File,
    FileState,
    Kind,
    QueueState,
    Root,
    Store,
    UnreadableFile,
    Verdict,
    VerdictState,
)

Open = Callable[[], Store]
BUNDLE: Any = SimpleNamespace(id="one", centroids=np.eye(20, 256, dtype=np.float32))
SEEN = FileIdentity(1, 2, 300, 10**18, 10**18, 1)
CASE = Verdict(
    id="0" * 32, file_id=None, time="2024-01-02T03:04:05.000Z", root=b"/srv", path=b"a.jpg", sha256="aa",
    original_root=b"/srv", original_path=b"b.jpg", original_sha256="bb", kind=Kind.NEAR, distance=0.25, cluster=3,
    evidence=0.9, edit="flipped", action=Action.FLAGGED, better=False,
)  # fmt: skip


def indexed(store: Store) -> list[int]:
    """Return the contents that are in the vectors when they are read anew."""
    store.vectors.open(BUNDLE)
    return sorted(store.vectors.snapshot()[0].tolist())


def unit(axis: int) -> Any:
    vector = np.zeros(256, np.float32)
    vector[axis] = 1
    return vector


def content(sha256: str = "aa", **values: Any) -> Content:
    made = Content(0, sha256, 300, None, 640, 480, "JPEG", False)
    return replace(made, **values)


def put(
    store: Store,
    root: Root,
    path: bytes,
    state: FileState = FileState.KEPT,
    content_id: int | None = None,
    judged_ns: int = 1,
    seen: FileIdentity = SEEN,
    preexisting: bool = False,
) -> File:
    """Make a file known that has been judged."""
    store.queue.add(root.id, path, seen, preexisting, 1, QueueState.WAITING)
    file = store.files.at(root.id, path)
    assert file is not None
    if content_id is not None:
        store.files.begin(file.id, seen, content_id, judged_ns)
    match state:
        case FileState.KEPT:
            store.files.mark_kept(file.id)
        case FileState.DUPLICATE:
            store.files.mark_duplicate(file.id)
        case FileState.QUARANTINED:
            store.files.mark_quarantined(file.id)
        case FileState.UNREADABLE:
            store.files.mark_unreadable(file.id, "")
        case FileState.LINK:
            assert content_id is not None
            store.files.mark_link(file.id, seen, content_id)
        case FileState.GONE:
            store.files.mark_kept(file.id)
            store.files.mark_gone(file.id)
        case FileState.RESTORED:
            store.files.confirm(file.id, seen, state)
    found = store.files.get(file.id)
    assert found is not None
    return found


class StoreContract:
    """What `twinwatch.store.base` promises."""

    @pytest.fixture
    def root(self, store: Store) -> Root:
        return store.roots.add(Path("/srv"), (1, 2), 5)

    # Roots

    def test_the_root_watched_last_comes_first(self, store: Store) -> None:
        first = store.roots.add(Path("/srv/a"), (1, 2), 5)
        second = store.roots.add(Path("/srv/a"), (1, 3), 6)
        other = store.roots.add(Path("/srv/b"), (1, 4), 7)
        assert store.roots.all() == [other, second, first]
        assert store.roots.all(Path("/srv/a")) == [second, first]
        store.roots.trip(first.id, "look", "now")
        assert store.roots.all(Path("/srv/a"))[1].tripped == "look"

    @pytest.mark.parametrize("name", ["caf\udce9", "new\nline", "50%", "'"])
    def test_a_root_may_have_any_name(self, store: Store, name: str) -> None:
        root = store.roots.add(Path("/srv") / name, (1, 2), 5)
        assert store.roots.all(Path("/srv") / name) == [root]
        assert root.path == os.fsencode(f"/srv/{name}")

    @pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
    def test_a_root_has_inode_and_device_numbers_of_64_bits(self, store: Store, number: int) -> None:
        root = store.roots.add(Path("/srv"), (number, number), 5)
        assert store.roots.all(Path("/srv")) == [root]
        assert root.folder == (number, number)

    # Files

    @pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
    def test_a_file_has_inode_and_device_numbers_of_64_bits(self, store: Store, root: Root, number: int) -> None:
        """Some network and FUSE file systems hash into all 64 bits; SQLite's integers have a sign."""
        seen = replace(SEEN, device=number, inode=number)
        store.queue.add(root.id, b"a.jpg", seen, preexisting=False, arrived_ns=1, state=QueueState.WAITING)
        file = store.files.at(root.id, b"a.jpg")
        assert file is not None
        assert file.identity == seen
        other = put(store, root, b"b.jpg", seen=replace(SEEN, device=5))
        assert [found.id for found in store.files.same_inode(other, seen)] == [file.id]

    @pytest.mark.parametrize("mtime_ns", [-(10**18), 0, 2**62])
    def test_a_file_may_have_any_time(self, store: Store, root: Root, mtime_ns: int) -> None:
        seen = replace(SEEN, mtime_ns=mtime_ns)
        store.queue.add(root.id, b"a.jpg", seen, preexisting=True, arrived_ns=mtime_ns, state=QueueState.WAITING)
        file = store.files.at(root.id, b"a.jpg")
        assert file is not None
        assert file.identity == seen

    @pytest.mark.parametrize(
        "path", [b"a.jpg", b"sub/a.jpg", b"caf\xe9/\xff\xfe.jpg", b"new\nline/\x1b[31m.jpg", b"'; --"]
    )
    def test_a_file_is_found_by_its_path_of_any_bytes(self, store: Store, root: Root, path: bytes) -> None:
        store.queue.add(root.id, path, SEEN, preexisting=False, arrived_ns=7, state=QueueState.WAITING)
        store.commit()
        file = store.files.at(root.id, path)
        assert file is not None
        assert (file.path, file.identity, file.state, file.preexisting) == (path, SEEN, "new", False)
        folder, name = split(path)
        assert store.files.in_folder(root.id, folder) == {name: file}
        assert store.files.folders(root.id) == [folder]

    def test_standing_files_come_by_time_then_name_and_before_all_others(self, store: Store, root: Root) -> None:
        for path, standing, arrived_ns in (
            (b"late", False, 9), (b"early", False, 1), (b"b", True, 5), (b"a", True, 5), (b"z", True, 2),
            (b"sub/a", True, 5), (b"newest", True, 8),
        ):  # fmt: skip
            store.queue.add(root.id, path, SEEN, standing, arrived_ns, QueueState.WAITING)
        waiting = store.queue.next(100, [root.id], [])
        assert [file.path for file in waiting] == [b"z", b"a", b"b", b"sub/a", b"newest", b"early", b"late"]
        assert store.queue.next(2, [root.id], []) == waiting[:2]
        assert store.queue.next(2, [root.id], [waiting[0].id]) == waiting[1:3]
        assert store.queue.next(100, [root.id + 1], []) == []
        assert store.queue.count() == 7

    def test_what_the_first_scan_found_waits_until_it_is_released(self, store: Store, root: Root) -> None:
        store.queue.add(root.id, b"a", SEEN, preexisting=True, arrived_ns=1, state=QueueState.FOUND)
        assert store.queue.next(10, [root.id], []) == []
        assert store.queue.count() == 1
        store.queue.release_found()
        assert [file.path for file in store.queue.next(10, [root.id], [])] == [b"a"]

    def test_a_changed_file_is_queued_again_under_the_same_number(self, store: Store, root: Root) -> None:
        file = put(store, root, b"a", preexisting=True)
        grown = replace(SEEN, size_bytes=301)
        store.queue.add(root.id, b"a", grown, preexisting=False, arrived_ns=9, state=QueueState.WAITING)
        (again,) = store.queue.next(10, [root.id], [])
        assert (again.id, again.identity, again.state, again.preexisting) == (file.id, grown, "kept", True)

    def test_a_path_is_free_again_when_its_file_is_gone(self, store: Store, root: Root) -> None:
        for state in (FileState.GONE, FileState.QUARANTINED):
            put(store, root, b"a", state)
            assert store.files.at(root.id, b"a") is None
            assert store.files.in_folder(root.id, b"") == {}
            assert store.files.folders(root.id) == []
        put(store, root, b"a")
        assert store.counts() == {"gone": 1, "kept": 1, "waiting": 0}

    def test_what_is_in_quarantine_is_counted_by_the_verdicts_that_are_listed(self, store: Store, root: Root) -> None:
        """After a rebuild no file is known of it."""
        for number, (state, action) in enumerate(
            [
                (VerdictState.DONE, Action.QUARANTINED),
                (VerdictState.DONE, Action.QUARANTINED),
                (VerdictState.DONE, Action.FLAGGED),
                (VerdictState.RESTORED, Action.QUARANTINED),
            ]
        ):
            store.verdicts.add(replace(CASE, id=str(number), state=state, action=action))
        assert [case.id for case in store.verdicts.quarantined()] == ["0", "1"]
        assert store.counts() == {"quarantined": 2, "waiting": 0}

    def test_what_was_ever_seen_at_a_path_counts_over_all_its_folders(self, store: Store, root: Root) -> None:
        put(store, root, b"a", FileState.GONE)
        put(store, store.roots.add(Path("/srv"), (1, 3), 6), b"a")
        put(store, store.roots.add(Path("/other"), (1, 4), 6), b"a")
        assert store.files.ever_seen(Path("/srv")) == 2
        assert store.files.ever_seen(Path("/none")) == 0

    def test_a_renamed_file_keeps_its_number_and_takes_the_place_of_another(self, store: Store, root: Root) -> None:
        moved, there = put(store, root, b"sub/a"), put(store, root, b"b")
        seen = replace(SEEN, ctime_ns=SEEN.ctime_ns + 1)
        store.files.place(moved.id, root.id, b"b", seen, FileState.RESTORED)
        file = store.files.at(root.id, b"b")
        assert file == replace(moved, path=b"b", identity=seen, state=FileState.RESTORED)
        assert store.files.at(root.id, b"sub/a") is None
        gone = store.files.get(there.id)
        assert gone is not None
        assert gone.state is FileState.GONE

    def test_a_renamed_file_takes_the_place_of_one_that_is_judged_and_has_a_verdict(
        self, store: Store, root: Root
    ) -> None:
        moved, there = put(store, root, b"a"), put(store, root, b"b", FileState.NEW)
        store.verdicts.add(replace(CASE, file_id=there.id, state=VerdictState.RESTORED))
        store.files.place(moved.id, root.id, b"b", SEEN, FileState.KEPT)
        store.commit()
        assert store.files.at(root.id, b"b") == replace(moved, path=b"b")
        assert store.verdicts.latest_of([there.id])[there.id].id == CASE.id

    def test_a_file_placed_where_it_is_stays(self, store: Store, root: Root) -> None:
        file = put(store, root, b"a")
        store.files.place(file.id, root.id, b"a", SEEN, FileState.KEPT)
        assert store.files.at(root.id, b"a") == file

    def test_the_same_inode_is_found_also_where_it_is_gone(self, store: Store, root: Root) -> None:
        kept, gone = put(store, root, b"a"), put(store, root, b"b", FileState.GONE)
        put(store, root, b"c", FileState.QUARANTINED)
        put(store, root, b"d", seen=replace(SEEN, inode=99))
        put(store, root, b"e", seen=replace(SEEN, device=99))
        newcomer = put(store, root, b"f")
        assert {file.id for file in store.files.same_inode(newcomer, SEEN)} == {kept.id, gone.id}

    def test_originals_never_flagged_come_first_then_the_oldest(self, store: Store, root: Root) -> None:
        known = store.contents.add(content())
        for path, state, judged_ns in (
            (b"flagged", FileState.DUPLICATE, 1), (b"young", FileState.KEPT, 9), (b"old", FileState.RESTORED, 3),
            (b"gone", FileState.GONE, 2), (b"moved", FileState.QUARANTINED, 2), (b"link", FileState.LINK, 2),
            (b"new", FileState.NEW, 2),
        ):  # fmt: skip
            put(store, root, path, state, known.id, judged_ns)
        put(store, root, b"queued", content_id=known.id, judged_ns=2)
        store.queue.add(root.id, b"queued", SEEN, False, 1, QueueState.WAITING)
        put(store, root, b"copy", content_id=known.id, judged_ns=0)
        holders = store.contents.files_of([known.id, 99])
        assert [file.path for file in holders[known.id].originals] == [b"copy", b"old", b"young", b"flagged"]
        assert [file.path for file in holders[known.id].queued] == [b"queued"]
        assert not holders[99].originals

    # Contents and embeddings

    def test_a_content_is_known_by_its_bytes(self, store: Store) -> None:
        known = store.contents.add(content())
        assert store.contents.get(known.id) == known
        assert store.contents.by_sha256("aa") == known
        assert store.contents.by_sha256("bb") is None
        later = store.contents.add(content(reason="damaged", width=0))
        assert later.id == known.id
        assert store.contents.by_sha256("aa") == later

    def test_only_what_this_bundle_embedded_needs_no_decoding(self, store: Store) -> None:
        embedded, bare, broken = (store.contents.add(content(name)) for name in ("aa", "bb", "cc"))
        store.contents.add(content("cc", reason="damaged"))
        store.contents.add_embedding(embedded.id, "one", np.zeros(256, np.float32))
        assert broken.id != bare.id
        assert store.contents.known_sha256(300, "one") == {"aa", "cc"}
        assert store.contents.known_sha256(300, "two") == {"cc"}
        assert store.contents.known_sha256(301, "one") == frozenset()

    def test_hashes_of_one_size_are_not_handed_out_by_the_thousand(self, store: Store) -> None:
        for number in range(500):
            store.contents.add(content(f"{number}", reason="damaged"))
        assert len(store.contents.known_sha256(300, "one")) == 500
        store.contents.add(content("one more", reason="damaged"))
        assert store.contents.known_sha256(300, "one") == frozenset()

    def test_an_embedding_is_read_as_it_was_written_and_by_its_bundle_only(self, store: Store, root: Root) -> None:
        vector = np.random.default_rng(0).normal(size=256).astype(np.float32)
        known, blank = store.contents.add(content()), store.contents.add(content("bb", blank=True))
        for one in (known, blank):
            store.contents.add_embedding(one.id, "one", vector)
        store.contents.add_embedding(known.id, "one", vector + 1)  # the first stays
        found = store.contents.embedding(known.id, "one")
        assert found is not None
        assert found.dtype == np.float32
        assert np.array_equal(found, vector)
        assert store.contents.embedding(known.id, "two") is None

        assert indexed(store) == []  # no living file holds it
        file = put(store, root, b"a", content_id=known.id)
        put(store, root, b"b", content_id=blank.id)
        assert indexed(store) == [known.id]
        assert np.array_equal(store.vectors.snapshot()[1], [vector])
        store.files.mark_gone(file.id)
        assert known.id not in store.vectors
        assert indexed(store) == []

    def test_the_version_changes_with_every_change_and_only_then(
        self, open_store: Open, store: Store, root: Root
    ) -> None:
        store.commit()
        beside = open_store()
        seen = [beside.version()]
        assert beside.version() == seen[-1]
        beside.queue.release_found()
        beside.commit()
        store.queue.release_found()
        store.commit()
        assert beside.version() == seen[-1]
        for changed in (store, beside):
            put(changed, root, b"a")
            changed.commit()
            assert beside.version() not in seen
            seen.append(beside.version())
        beside.close()

    def test_what_a_new_bundle_has_not_embedded_is_listed_once(self, store: Store, root: Root) -> None:
        done, bare, broken = (store.contents.add(content(name)) for name in ("aa", "bb", "cc"))
        store.contents.add(content("cc", reason="damaged"))
        store.contents.add_embedding(done.id, "new", np.zeros(256, np.float32))
        put(store, root, b"done", content_id=done.id)
        put(store, root, b"broken", content_id=broken.id)
        first, second = (put(store, root, path, content_id=bare.id) for path in (b"bare", b"bare2"))
        (found,) = store.contents.lacking_embedding("new", 10, [root.id], [])
        assert found.id in (first.id, second.id)
        assert len(store.contents.lacking_embedding("old", 10, [root.id], [])) == 2
        assert len(store.contents.lacking_embedding("old", 1, [root.id], [])) == 1
        assert store.contents.lacking_embedding("new", 10, [root.id], [first.id, second.id]) == []
        assert store.contents.lacking_embedding("new", 10, [root.id + 1], []) == []

    # Verdicts

    def test_a_verdict_is_read_as_it_was_written(self, store: Store) -> None:
        case = replace(CASE, path=b"caf\xe9\n.jpg", original_path=b"\xff", quarantined_to=b"\xfe", restored_to=b"\xfd")
        store.verdicts.add(case)
        assert store.verdicts.get(case.id) == case
        store.verdicts.mark_done(case.id, Action.FLAGGED)
        assert store.verdicts.get(case.id) == replace(case, state=VerdictState.DONE)
        store.verdicts.drop(case.id)
        assert store.verdicts.get(case.id) is None

    def test_verdicts_are_listed_oldest_first(self, store: Store, root: Root) -> None:
        file = put(store, root, b"a", FileState.DUPLICATE)
        cases = [
            replace(
                CASE, id=str(day), time=f"2024-01-0{day}T00:00:00.000Z", file_id=file.id, state=state, logged=logged
            )
            for day, state, logged in ((3, "done", "done"), (1, "pending", ""), (2, "restored", "done"))
        ]
        for case in cases:
            store.verdicts.add(case)
        third, first, second = cases
        assert store.verdicts.all() == [first, second, third]
        assert store.verdicts.all(state=VerdictState.DONE) == [third]
        assert store.verdicts.all(since="2024-01-02T00:00:00.000Z") == [second, third]
        assert store.verdicts.latest_of([file.id, file.id + 1]) == {file.id: third}
        assert store.verdicts.latest_of([]) == {}
        assert store.verdicts.unlogged() == [second]
        assert store.verdicts.active([root.id]) == [third]
        assert store.verdicts.active([root.id + 1]) == []
        store.files.mark_gone(file.id)
        assert store.verdicts.active([root.id]) == []

    def test_unreadable_files_are_listed_with_their_reasons(self, store: Store, root: Root) -> None:
        store.files.mark_unreadable(put(store, root, b"b/x").id, "damaged")
        put(store, root, b"a", FileState.UNREADABLE)
        put(store, root, b"c")
        found = [UnreadableFile(b"/srv/a", ""), UnreadableFile(b"/srv/b/x", "damaged")]
        assert store.files.unreadable([root.id]) == store.files.unreadable() == found
        assert store.files.unreadable([]) == []

    def test_a_dismissal_counts_both_ways(self, store: Store) -> None:
        store.dismissals.add("bb", "aa", "then")
        assert store.dismissals.of("aa", ["bb", "cc"]) == {"bb"}
        assert store.dismissals.of("bb", ["aa", "cc"]) == {"aa"}
        assert store.dismissals.of("cc", ["aa", "bb"]) == set()
        store.dismissals.add("aa", "bb", "later")
        assert store.dismissals.all() == [Dismissal("aa", "bb", "then")]

    # Transactions and connections

    def test_what_is_rolled_back_never_was(self, store: Store, root: Root) -> None:
        store.commit()
        put(store, root, b"a")
        store.rollback()
        assert store.files.at(root.id, b"a") is None
        assert [known.id for known in store.roots.all()] == [root.id]

    def test_what_is_not_committed_is_lost_at_the_close_and_the_rest_is_kept(self, open_store: Open) -> None:
        store = open_store()
        root = store.roots.add(Path("/srv"), (1, 2), 5)
        store.commit()
        put(store, root, b"a")
        store.close()
        again = open_store()
        assert again.roots.all() == [root]
        assert again.files.at(root.id, b"a") is None
        again.close()

    def test_another_connection_sees_what_is_committed_and_nothing_else(self, open_store: Open, store: Store) -> None:
        other = open_store()
        store.roots.add(Path("/srv"), (1, 2), 5)
        assert other.roots.all() == []  # and it need not wait
        other.rollback()
        store.commit()
        assert len(other.roots.all()) == 1
        other.close()

    @pytest.mark.parametrize("folders", [4, 1])
    def test_several_threads_write_beside_each_other(
        self, open_store: Open, store: Store, root: Root, folders: int
    ) -> None:
        """Each in a folder of its own, or all of them the same files, as events and a scan may at once."""
        store.commit()
        failures: list[BaseException] = []

        def write(thread: int) -> None:
            mine = open_store()
            try:
                for number in range(20):
                    mine.queue.add(
                        root.id, b"%d/%d" % (thread % folders, number), SEEN, False, number, QueueState.WAITING
                    )
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
        assert store.queue.count() == 20 * folders

    # The vectors

    def test_the_vectors_follow_the_files(self, store: Store, root: Root) -> None:
        store.vectors.open(BUNDLE)
        first, second = self.embedded(store, "aa"), self.embedded(store, "bb")
        one = put(store, root, b"one", content_id=first)
        put(store, root, b"two", FileState.DUPLICATE, first)
        put(store, root, b"new", FileState.NEW, second)
        assert first in store.vectors
        assert second not in store.vectors
        store.files.mark_gone(one.id)
        assert first in store.vectors  # the copy holds it still
        two = store.files.at(root.id, b"two")
        assert two is not None
        store.files.begin(two.id, SEEN, second, 2)
        assert first not in store.vectors
        store.files.mark_kept(two.id)
        assert second in store.vectors
        assert [match.key for match in store.vectors.query(unit(0), 0.5)] == [second]

    @pytest.mark.parametrize("values", [{"blank": True}, {"reason": "damaged"}])
    def test_what_must_not_be_compared_is_in_no_vectors(self, store: Store, root: Root, values: dict[str, Any]) -> None:
        store.vectors.open(BUNDLE)
        known = self.embedded(store, "aa", **values)
        put(store, root, b"a", content_id=known)
        assert known not in store.vectors

    def test_a_roll_back_covers_the_vectors(self, store: Store, root: Root) -> None:
        first, second = self.embedded(store, "aa"), self.embedded(store, "bb")
        kept = put(store, root, b"kept", content_id=first)
        store.vectors.open(BUNDLE)
        store.commit()
        store.files.mark_gone(kept.id)
        put(store, root, b"late", content_id=second)
        put(store, root, b"again", content_id=first)
        store.rollback()
        assert [match.key for match in store.vectors.query(unit(0), 0.5)] == [first]
        assert indexed(store) == [first]
        put(store, root, b"late", content_id=second)
        store.commit()
        store.rollback()
        assert sorted(match.key for match in store.vectors.query(unit(0), 0.5)) == [first, second] == indexed(store)

    def embedded(self, store: Store, sha256: str, **values: Any) -> int:
        known = store.contents.add(content(sha256, **values))
        store.contents.add_embedding(known.id, BUNDLE.id, unit(0))
        return known.id

    def test_other_names_are_judged_once_no_original_holds_their_content(self, store: Store, root: Root) -> None:
        known = store.contents.add(content())
        first = put(store, root, b"first", content_id=known.id)
        put(store, root, b"second", FileState.LINK, known.id)
        store.files.mark_gone(first.id)
        second = store.files.at(root.id, b"second")
        assert second is not None
        assert (second.state, store.queue.next(9, [root.id], [])) == (FileState.NEW, [second])

    # Between judging and watching

    def test_what_is_to_settle_is_taken_once_and_of_these_roots_only(self, store: Store, root: Root) -> None:
        changing, displaced, queued = (put(store, root, path) for path in (b"changing", b"displaced", b"queued"))
        store.queue.rejudge(queued.id)
        store.queue.settle_changed(changing.id)
        for file in (displaced, queued):
            store.queue.settle(file.id)
        assert store.queue.take_to_settle([root.id + 1]) == []
        assert sorted(store.queue.take_to_settle([root.id])) == [(root.id, b"changing"), (root.id, b"displaced")]
        assert store.queue.take_to_settle([root.id]) == []
        found = store.files.at(root.id, b"changing")
        assert found is not None
        assert found.identity != SEEN  # whatever is there counts as changed
        assert store.files.at(root.id, b"displaced") == displaced
        assert store.queue.count() == 1

    def test_what_a_scan_missed_is_handed_on_unless_something_was_learned_since(self, store: Store, root: Root) -> None:
        gone, changed, moved = (put(store, root, path) for path in (b"gone", b"changed", b"moved"))
        store.queue.add(root.id, b"changed", replace(SEEN, size_bytes=301), False, 1, QueueState.WAITING)
        store.files.mark_quarantined(moved.id)
        store.queue.report_gone([gone, changed, moved])
        assert store.queue.gone(9) == [gone]
        store.files.confirm(gone.id, SEEN, FileState.KEPT)  # a judgement that began before the scan
        assert store.queue.gone(9) == [gone]
        store.files.mark_gone(gone.id)
        assert store.queue.gone(9) == []

    def test_what_a_scan_missed_because_it_went_to_quarantine_is_not_handed_on(self, store: Store, root: Root) -> None:
        file = put(store, root, b"copy", FileState.NEW, store.contents.add(content()).id)
        store.queue.report_gone([file])  # it was moved, which is not recorded yet
        store.files.mark_quarantined(file.id)
        assert store.queue.gone(9) == []

    def test_a_missing_original_keeps_its_time(self, store: Store) -> None:
        store.missing.add(1, 5)
        store.missing.add(1, 9)
        store.missing.add(2, 7)
        assert store.missing.all() == {1: 5, 2: 7}
        store.missing.remove(1)
        assert store.missing.all() == {2: 7}
