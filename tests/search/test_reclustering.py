"""An index made anew finds the same as before, and catches up with what changed meanwhile."""

import numpy as np
from hypothesis import given, settings

from search.contract import Library, clustered, libraries, require_same
from twinwatch.search import ExactIndex, catch_up, recluster


@settings(max_examples=15, deadline=None)
@given(libraries())
def test_so_it_does_after_clustering_again(library: Library) -> None:
    if len(library.members) < 2:
        return
    first = ExactIndex(library.centroids)
    for key, member in library.members.items():
        first.add(key, member)
    second = recluster(*first.vectors())
    assert len(second) == len(first)
    for query in library.queries:
        for radius in library.radii[1:]:
            require_same(second, library.members, query, radius)
    keys, vectors = second.vectors()
    scale = max(float(np.linalg.norm(member)) for member in library.members.values())
    for key, vector in zip(keys.tolist(), vectors, strict=True):
        assert np.linalg.norm(vector - library.members[key]) <= 1e-5 * (1 + scale)


def test_a_large_library_gives_the_same_before_and_after_clustering_again() -> None:
    members = clustered(1500)
    first = ExactIndex(np.stack([members[key] for key in range(0, 200, 10)]))
    for key, member in members.items():
        first.add(key, member)
    second = recluster(*first.vectors())
    assert len({match.cluster for match in second.query(members[0], 9.0)}) > 20
    for key in range(0, 1500, 150):
        for radius in (0.01, 0.4, 0.8):
            require_same(first, members, members[key], radius)
            matches = require_same(second, members, members[key], radius)
            assert matches[0].key == key


def test_a_sample_for_clustering_leaves_no_member_out() -> None:
    members = clustered(500)
    keys, vectors = np.arange(500), np.stack(list(members.values()))
    index = recluster(keys, vectors, sample=60)
    assert sorted(index.keys()) == list(range(500))
    require_same(index, members, members[400], 0.7)


def test_a_sample_smaller_than_the_number_of_clusters_does() -> None:
    members = clustered(30)
    index = recluster(np.arange(30), np.stack(list(members.values())), sample=5)
    require_same(index, members, members[7], 1.3)


def test_the_same_library_is_clustered_the_same() -> None:
    members = clustered(300)
    keys, vectors = np.arange(300), np.stack(list(members.values()))
    one, two = recluster(keys, vectors), recluster(keys, vectors)
    assert one.query(members[5], 9.0) == two.query(members[5], 9.0)


def test_a_reclustered_index_catches_up_with_what_changed_meanwhile() -> None:
    members = clustered(120)
    old = ExactIndex(np.stack([members[key] for key in range(5)]))
    for key in range(100):
        old.add(key, members[key])
    keys, vectors = old.vectors()
    for key in range(0, 30):
        old.remove(key)
    old.add(3, members[3])
    for key in range(100, 120):
        old.add(key, members[key])
    left = {key: members[key] for key in (3, *range(30, 120))}
    fresh = recluster(keys, vectors)
    assert catch_up(fresh, old) is fresh
    assert sorted(fresh.keys()) == sorted(left)
    for key in range(0, 120, 7):
        require_same(fresh, left, members[key], 1.3)
    for key, member in left.items():
        assert np.array_equal(fresh.vector(key), member)
