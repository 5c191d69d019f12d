"""What every vector index promises, as a test class that the test of each implementation inherits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from twinwatch.search import Match, VectorIndex
from twinwatch.search.base import Vectors
from twinwatch.search.codes import AXES

INHERITED = [HealthCheck.differing_executors]  # one test runs in the class of each implementation


@dataclass
class Library:
    """Centroids, members and queries of one random case."""

    centroids: Vectors
    members: dict[int, Vectors]
    queries: Vectors
    radii: list[float]


def brute_force(members: dict[int, Vectors], query: Vectors, radius: float) -> dict[int, float]:
    """Distances in float64 of all within the radius and a little more; the caller forgives what lies on the edge."""
    found = {}
    for key, member in members.items():
        distance = float(np.linalg.norm(member.astype(np.float64) - query.astype(np.float64)))
        if distance <= radius + tolerance(query, radius):
            found[key] = distance
    return found


def tolerance(query: Vectors, radius: float) -> float:
    """What float32 may be off by."""
    return 1e-5 * (1 + radius + float(np.linalg.norm(query)))


def require_same(index: VectorIndex, members: dict[int, Vectors], query: Vectors, radius: float) -> list[Match]:
    matches = index.query(query, radius)
    found = {match.key: match.distance for match in matches}
    expected = brute_force(members, query, radius)
    off = tolerance(query, radius)
    assert len(found) == len(matches)
    assert set(found) <= set(expected)
    missed = {key: distance for key, distance in expected.items() if key not in found}
    assert all(distance >= radius - off for distance in missed.values()), missed
    assert all(abs(found[key] - expected[key]) <= off for key in found)
    assert [match.distance for match in matches] == sorted(match.distance for match in matches)
    assert all(match.distance <= radius for match in matches)
    return matches


@st.composite
def libraries(draw: st.DrawFn) -> Library:
    """Cases that border on the degenerate: equal centroids, repeated members, members on centroids, large norms."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim = draw(st.sampled_from([AXES, AXES + 1, 48, 256]))
    k, count = draw(st.integers(1, 12)), draw(st.integers(0, 120))
    rank = draw(st.sampled_from([1, 2, 8, dim]))  # how many directions the vectors spread into
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    offset = draw(st.sampled_from([0.0, 1.0, 30.0])) * scale
    basis = rng.normal(size=(rank, dim))

    def some(number: int) -> Vectors:
        spread = rng.normal(size=(number, rank)) @ basis / np.sqrt(dim * rank)
        return np.asarray(scale * spread + offset / np.sqrt(dim), np.float32)

    centroids = some(k)
    if draw(st.booleans()):
        centroids[rng.integers(0, k, k // 2)] = centroids[0]
    members = some(count)
    if count and draw(st.booleans()):
        members[rng.integers(0, count, count // 2)] = members[0]
    if count and draw(st.booleans()):
        members[rng.integers(0, count, min(count, k))] = centroids[: min(count, k)]
    if draw(st.booleans()):
        norms = np.linalg.norm(members, axis=1, keepdims=True)
        members = (members / np.maximum(norms, 1e-9)).astype(np.float32)
    queries = np.concatenate((some(3), members[:3], centroids[:2]))
    typical = float(np.median(np.linalg.norm(members - queries[0], axis=1))) if count else scale
    return Library(centroids, dict(enumerate(members)), queries, [0.0, 0.3 * typical, typical, 3 * typical])


def clustered(count: int, dim: int = 256, seed: int = 0) -> dict[int, Vectors]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, dim))
    members = centres[rng.integers(0, 30, count)] + 0.3 * rng.normal(size=(count, dim))
    return dict(enumerate((members / np.linalg.norm(members, axis=1, keepdims=True)).astype(np.float32)))


def change_at_random(index: VectorIndex, library: Library, seed: int) -> dict[int, Vectors]:
    """Add, replace and remove members, with queries in between; return the members that are left."""
    rng = np.random.default_rng(seed)
    members: dict[int, Vectors] = {}
    pool = list(library.members.values())
    for step in range(3 * len(pool)):
        key = int(rng.integers(0, len(pool)))
        if rng.random() < 0.4:
            index.remove(key)
            members.pop(key, None)
        else:
            members[key] = pool[int(rng.integers(0, len(pool)))]
            index.add(key, members[key])
        if step % 40 == 0:
            require_same(index, members, library.queries[step // 40 % len(library.queries)], library.radii[2])
    return members


class VectorIndexContract:
    """A query returns what brute force would, whatever the embeddings and whatever came and went before."""

    def empty_index(self, centroids: Vectors) -> VectorIndex:
        """Return an index without members that clusters around float32 [k, dim]."""
        raise NotImplementedError

    @settings(max_examples=100, deadline=None, suppress_health_check=INHERITED)
    @given(libraries())
    def test_a_query_returns_what_brute_force_does(self, library: Library) -> None:
        index = self.empty_index(library.centroids)
        for key, member in library.members.items():
            index.add(key, member)
        assert len(index) == len(library.members)
        for query in library.queries:
            for radius in library.radii:
                require_same(index, library.members, query, radius)

    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    @given(libraries(), st.integers(0, 2**32 - 1))
    def test_so_it_does_after_removals_and_replacements(self, library: Library, seed: int) -> None:
        index = self.empty_index(library.centroids)
        members = change_at_random(index, library, seed)
        assert len(index) == len(members)
        assert all((key in index) == (key in members) for key in range(len(library.members)))
        for query in library.queries:
            require_same(index, members, query, library.radii[1])

    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    @given(libraries(), st.integers(1, 30))
    def test_the_nearest_are_the_first_of_all(self, library: Library, most: int) -> None:
        index = self.empty_index(library.centroids)
        for key, member in library.members.items():
            index.add(key, member)
        for query in library.queries:
            for radius in library.radii:
                assert index.query(query, radius, most) == index.query(query, radius)[:most]

    def test_a_neighbour_across_the_border_is_found(self) -> None:
        """Two members a hair's breadth apart, in two clusters."""
        centroids = np.zeros((2, 64), np.float32)
        centroids[0, 0], centroids[1, 0] = -1, 1
        left, right = np.zeros(64, np.float32), np.zeros(64, np.float32)
        left[0], right[0] = -1e-4, 1e-4
        index = self.empty_index(centroids)
        assert index.add(1, left) != index.add(2, right)
        assert [match.key for match in index.query(left, 0.001)] == [1, 2]
        assert [match.key for match in index.query(right, 0.001)] == [2, 1]

    def test_centroids_that_differ_by_a_rounding_only_hide_nothing(self) -> None:
        """Clusters of copies have such centroids; their distance is lost in float32, the border between them is not."""
        centroids = np.zeros((2, 64), np.float32)
        centroids[0, 0], centroids[1, 0] = 1, np.nextafter(np.float32(1), np.float32(2))
        member, query = np.zeros(64, np.float32), np.zeros(64, np.float32)
        member[0], query[0] = 2, 0.5
        index = self.empty_index(centroids)
        assert index.add(1, member) == 1
        assert [match.key for match in index.query(query, 2.0)] == [1]

    def test_a_match_names_its_key_distance_and_cluster(self) -> None:
        centroids = np.zeros((3, 64), np.float32)
        centroids[:, 5] = [-10, 0, 10]
        member = centroids[2].copy()
        member[40] = 3  # beyond the prefix
        index = self.empty_index(centroids)
        assert index.add(77, member) == 2
        (match,) = index.query(centroids[2], 3.5)
        assert (match.key, match.cluster) == (77, 2)
        assert match.distance == pytest.approx(3)
        assert index.query(centroids[2], 2.9) == []

    @pytest.mark.parametrize("most", [0, 1, 7, 1000])
    def test_the_nearest_are_kept(self, most: int) -> None:
        members = clustered(400)
        index = self.empty_index(np.stack([members[key] for key in range(20)]))
        for key, member in members.items():
            index.add(key, member)
        all_matches = index.query(members[3], 1.2)
        assert len(all_matches) > 7
        assert index.query(members[3], 1.2, most) == all_matches[:most]

    def test_equal_distances_come_in_the_order_of_their_keys(self) -> None:
        vector = np.ones(64, np.float32)
        index = self.empty_index(np.zeros((1, 64), np.float32))
        for key in (5, 3, 9, 1):
            index.add(key, vector)
        assert [match.key for match in index.query(vector, 0.1)] == [1, 3, 5, 9]

    def test_adding_under_a_key_again_replaces(self) -> None:
        index = self.empty_index(np.zeros((1, 64), np.float32))
        index.add(1, np.zeros(64, np.float32))
        index.add(1, np.ones(64, np.float32))
        assert len(index) == 1
        assert index.query(np.zeros(64, np.float32), 1.0) == []

    def test_removing_what_is_not_there_does_nothing(self) -> None:
        index = self.empty_index(np.zeros((1, 64), np.float32))
        index.remove(4)
        index.add(1, np.zeros(64, np.float32))
        index.remove(4)
        assert (len(index), 1 in index, 4 in index) == (1, True, False)

    def test_an_empty_index_finds_nothing(self) -> None:
        index = self.empty_index(np.zeros((2, 64), np.float32))
        assert len(index) == 0
        assert index.query(np.zeros(64, np.float32), 100.0) == []
        assert index.query(np.zeros(64, np.float32), 100.0, 20) == []

    def test_the_cluster_of_a_member_is_that_of_its_nearest_centroid(self) -> None:
        centroids = np.eye(3, 64, dtype=np.float32)
        index = self.empty_index(centroids)
        for key, cluster in ((4, 2), (9, 0)):
            assert index.add(key, 5 * centroids[cluster]) == index.cluster_of(key) == cluster
        assert index.add(4, 5 * centroids[1]) == index.cluster_of(4) == 1
        index.remove(9)
        assert [index.cluster_of(key) for key in (9, 0, 10**6, -1)] == [None] * 4

    def test_a_library_of_copies_of_one_picture_gives_all_of_them(self) -> None:
        same = clustered(1)[0]
        index = self.empty_index(same[None])
        for key in range(200):
            index.add(key, same)
        assert [match.key for match in index.query(same, 0.0)] == list(range(200))
        assert [match.key for match in index.query(same, 1.0, 20)] == list(range(20))
        require_same(index, dict.fromkeys(range(200), same), same + np.float32(1e-4), 0.01)
