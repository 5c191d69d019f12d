"""The exact index keeps the contract, and finds the same however it was built and whatever its blocks hold."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from search.contract import Library, VectorIndexContract, change_at_random, clustered, libraries, require_same
from twinwatch.search import ExactIndex, recluster
from twinwatch.search.base import Vectors
from twinwatch.search.codes import AXES


class TestExactIndex(VectorIndexContract):
    def empty_index(self, centroids: Vectors) -> ExactIndex:
        return ExactIndex(centroids)


@settings(max_examples=40, deadline=None)
@given(libraries(), st.integers(0, 2**32 - 1))
def test_keys_and_vectors_are_those_of_the_members(library: Library, seed: int) -> None:
    index = ExactIndex(library.centroids)
    members = change_at_random(index, library, seed)
    assert sorted(index.keys()) == sorted(members)
    keys, vectors = index.vectors()
    assert sorted(keys.tolist()) == sorted(members)
    for key, vector in zip(keys.tolist(), vectors, strict=True):
        assert np.array_equal(vector, members[key])


@settings(max_examples=60, deadline=None)
@given(libraries(), st.integers(1, 30))
def test_built_at_once_it_finds_the_same_and_the_nearest_are_those_of_all(library: Library, most: int) -> None:
    keys = np.array(sorted(library.members), np.int64)
    members = np.empty((len(keys), library.centroids.shape[1]), np.float32)
    for row, key in enumerate(keys.tolist()):
        members[row] = library.members[key]
    index = ExactIndex.of(library.centroids, keys, members)
    assert sorted(index.keys().tolist()) == keys.tolist()
    for query in library.queries:
        for radius in library.radii:
            matches = require_same(index, library.members, query, radius)
            assert index.query(query, radius, most) == matches[:most]


def test_what_its_codes_cannot_hold_is_found_too() -> None:
    """Members far outside of what the codes were fitted to, and queries out there."""
    rng = np.random.default_rng(2)
    near, far = rng.normal(size=(400, 64)), 1000 * rng.normal(size=(40, 64))
    members = np.asarray(near, np.float32)
    index = ExactIndex.of(members[:5], np.arange(len(members)), members.copy())
    every = dict(enumerate(members)) | {1000 + number: vector for number, vector in enumerate(far.astype(np.float32))}
    for key in range(1000, 1040):
        index.add(key, every[key])
    for query in (members[0], every[1000], every[1039]):
        for radius in (0.0, 12.0, 9000.0):
            require_same(index, every, query, radius)


def test_removing_what_is_not_there_leaves_the_keys() -> None:
    index = ExactIndex(np.zeros((1, 64), np.float32))
    index.remove(4)
    index.add(1, np.zeros(64, np.float32))
    index.remove(4)
    assert index.keys() == [1]


def test_an_empty_index_has_no_keys_and_no_vectors() -> None:
    keys, vectors = ExactIndex(np.zeros((2, 64), np.float32)).vectors()
    assert (keys.shape, vectors.shape) == ((0,), (0, 64))


def test_what_is_not_a_member_has_no_vector() -> None:
    index = ExactIndex(np.zeros((2, 64), np.float32))
    index.add(3, np.ones(64, np.float32))
    assert np.array_equal(index.vector(3), np.ones(64, np.float32))
    for key in (2, -1, 10**6):
        with pytest.raises(KeyError):
            index.vector(key)


def test_it_needs_reclustering_at_four_times_the_size_it_was_clustered_at() -> None:
    members = clustered(4800, dim=AXES)
    index = ExactIndex(members[0][None, :])
    for key in range(999):
        index.add(key, members[key])
    assert not index.needs_recluster()
    index.add(999, members[999])
    assert index.needs_recluster()
    index = recluster(*index.vectors())
    assert not index.needs_recluster()
    for key in range(1000, 3999):
        index.add(key, members[key])
    assert not index.needs_recluster()
    index.add(3999, members[3999])
    assert index.needs_recluster()


@pytest.mark.usefixtures("small_blocks")
def test_it_needs_reclustering_when_deleted_members_left_most_rows_empty() -> None:
    members = clustered(40)
    index = ExactIndex(members[0][None, :])
    for _ in range(3):
        index.add(0, members[0])
    assert not index.needs_recluster()
    for key in [*range(40), *range(40)]:
        index.add(key, members[key])
    for key in range(1, 40):
        index.remove(key)
    assert index.needs_recluster()
    index = recluster(*index.vectors())
    assert not index.needs_recluster()
    assert [match.key for match in index.query(members[0], 9.0)] == [0]


@pytest.mark.usefixtures("small_blocks")
def test_members_that_move_are_found_where_they_are() -> None:
    pool = clustered(700, seed=3)
    index = ExactIndex.of(
        np.stack(list(pool.values())[:5]), np.arange(300), np.stack([pool[key] for key in range(300)])
    )
    members = {key: pool[key] for key in range(300)}
    rng = np.random.default_rng(1)
    for step in range(900):
        key = int(rng.integers(0, 700))
        if rng.random() < (0.7 if step > 300 else 0.3):
            index.remove(key)
            members.pop(key, None)
        else:
            index.add(key, pool[key])
            members[key] = pool[key]
    assert len(index) == len(members)
    for key in range(0, 700, 7):
        matches = require_same(index, members, pool[key], 1.3)
        assert index.query(pool[key], 1.3, 20) == matches[:20]
        assert (key in index) == (key in members)
        if key in members:
            assert np.array_equal(index.vector(key), pool[key])
            assert index.cluster_of(key) == next(match.cluster for match in matches if match.key == key)
    for key in list(members):
        index.remove(key)
    assert (len(index), index.query(pool[0], 9.0), index.query(pool[0], 9.0, 20)) == (0, [], [])
    index.add(3, pool[3])
    assert [match.key for match in index.query(pool[3], 0.1)] == [3]


def test_a_library_of_copies_of_one_picture_gives_all_of_them() -> None:
    same = clustered(1)[0]
    members = dict.fromkeys(range(200), same)
    index = ExactIndex.of(same[None], np.arange(200), np.tile(same, (200, 1)))
    assert [match.key for match in index.query(same, 0.0)] == list(range(200))
    assert [match.key for match in index.query(same, 1.0, 20)] == list(range(20))
    require_same(index, members, same + np.float32(1e-4), 0.01)
