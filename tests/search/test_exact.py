"""The index answers what brute force answers, whatever the embeddings look like."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from twinwatch.search import AXES, ExactIndex, exact as module, recluster
from twinwatch.search.exact import Match

Vectors = NDArray[np.float32]


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


def require_same(index: ExactIndex, members: dict[int, Vectors], query: Vectors, radius: float) -> list[Match]:
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


@settings(max_examples=100, deadline=None)
@given(libraries())
def test_a_query_returns_what_brute_force_does(library: Library) -> None:
    index = ExactIndex(library.centroids)
    for key, member in library.members.items():
        index.add(key, member)
    assert len(index) == len(library.members)
    for query in library.queries:
        for radius in library.radii:
            require_same(index, library.members, query, radius)


@settings(max_examples=40, deadline=None)
@given(libraries(), st.integers(0, 2**32 - 1))
def test_so_it_does_after_removals_and_replacements(library: Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = ExactIndex(library.centroids)
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
    assert sorted(index.keys()) == sorted(members)
    assert all((key in index) == (key in members) for key in range(len(pool)))
    for query in library.queries:
        require_same(index, members, query, library.radii[1])
    keys, vectors = index.vectors()
    assert sorted(keys.tolist()) == sorted(members)
    for key, vector in zip(keys.tolist(), vectors, strict=True):
        assert np.array_equal(vector, members[key])


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


def clustered(count: int, dim: int = 256, seed: int = 0) -> dict[int, Vectors]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, dim))
    members = centres[rng.integers(0, 30, count)] + 0.3 * rng.normal(size=(count, dim))
    return dict(enumerate((members / np.linalg.norm(members, axis=1, keepdims=True)).astype(np.float32)))


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


def test_a_neighbour_across_the_border_is_found() -> None:
    """Two members a hair's breadth apart, in two clusters."""
    centroids = np.zeros((2, 64), np.float32)
    centroids[0, 0], centroids[1, 0] = -1, 1
    left, right = np.zeros(64, np.float32), np.zeros(64, np.float32)
    left[0], right[0] = -1e-4, 1e-4
    index = ExactIndex(centroids)
    assert index.add(1, left) != index.add(2, right)
    assert [match.key for match in index.query(left, 0.001)] == [1, 2]
    assert [match.key for match in index.query(right, 0.001)] == [2, 1]


def test_centroids_that_differ_by_a_rounding_only_hide_nothing() -> None:
    """Clusters of copies have such centroids; their distance is lost in float32, the border between them is not."""
    centroids = np.zeros((2, 64), np.float32)
    centroids[0, 0], centroids[1, 0] = 1, np.nextafter(np.float32(1), np.float32(2))
    member, query = np.zeros(64, np.float32), np.zeros(64, np.float32)
    member[0], query[0] = 2, 0.5
    index = ExactIndex(centroids)
    assert index.add(1, member) == 1
    assert [match.key for match in index.query(query, 2.0)] == [1]


def test_a_match_names_its_key_distance_and_cluster() -> None:
    centroids = np.zeros((3, 64), np.float32)
    centroids[:, 5] = [-10, 0, 10]
    member = centroids[2].copy()
    member[40] = 3  # beyond the prefix
    index = ExactIndex(centroids)
    assert index.add(77, member) == 2
    (match,) = index.query(centroids[2], 3.5)
    assert (match.key, match.cluster) == (77, 2)
    assert match.distance == pytest.approx(3)
    assert index.query(centroids[2], 2.9) == []


@pytest.mark.parametrize("most", [0, 1, 7, 1000])
def test_the_nearest_are_kept(most: int) -> None:
    members = clustered(400)
    index = ExactIndex(np.stack([members[key] for key in range(20)]))
    for key, member in members.items():
        index.add(key, member)
    all_matches = index.query(members[3], 1.2)
    assert len(all_matches) > 7
    assert index.query(members[3], 1.2, most) == all_matches[:most]


def test_equal_distances_come_in_the_order_of_their_keys() -> None:
    vector = np.ones(64, np.float32)
    index = ExactIndex(np.zeros((1, 64), np.float32))
    for key in (5, 3, 9, 1):
        index.add(key, vector)
    assert [match.key for match in index.query(vector, 0.1)] == [1, 3, 5, 9]


def test_adding_under_a_key_again_replaces() -> None:
    index = ExactIndex(np.zeros((1, 64), np.float32))
    index.add(1, np.zeros(64, np.float32))
    index.add(1, np.ones(64, np.float32))
    assert len(index) == 1
    assert index.query(np.zeros(64, np.float32), 1.0) == []


def test_removing_what_is_not_there_does_nothing() -> None:
    index = ExactIndex(np.zeros((1, 64), np.float32))
    index.remove(4)
    index.add(1, np.zeros(64, np.float32))
    index.remove(4)
    assert index.keys() == [1]


def test_an_empty_index_finds_nothing() -> None:
    index = ExactIndex(np.zeros((2, 64), np.float32))
    assert index.query(np.zeros(64, np.float32), 100.0) == []
    keys, vectors = index.vectors()
    assert (keys.shape, vectors.shape) == ((0,), (0, 64))


def test_it_is_outgrown_at_four_times_the_size_it_was_clustered_at() -> None:
    members = clustered(4800, dim=AXES)
    index = ExactIndex(members[0][None, :])
    for key in range(999):
        index.add(key, members[key])
    assert not index.outgrown()
    index.add(999, members[999])
    assert index.outgrown()
    index = recluster(*index.vectors())
    assert not index.outgrown()
    for key in range(1000, 3999):
        index.add(key, members[key])
    assert not index.outgrown()
    index.add(3999, members[3999])
    assert index.outgrown()


@pytest.mark.usefixtures("small_blocks")
def test_it_is_outgrown_by_the_holes_that_members_left() -> None:
    members = clustered(40)
    index = ExactIndex(members[0][None, :])
    for _ in range(3):
        index.add(0, members[0])
    assert not index.outgrown()
    for key in [*range(40), *range(40)]:
        index.add(key, members[key])
    for key in range(1, 40):
        index.remove(key)
    assert index.outgrown()
    index = recluster(*index.vectors())
    assert not index.outgrown()
    assert [match.key for match in index.query(members[0], 9.0)] == [0]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALLEST_BLOCK", 8)
    monkeypatch.setattr(module, "_LARGEST_BLOCK", 64)
    monkeypatch.setattr(module, "_AT_ONCE", 16)
    monkeypatch.setattr(module, "_SAMPLED", 32)


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


def test_the_product_is_one_of_whole_numbers_up_to_the_largest() -> None:
    """A processor that adds in 16 bits would give less."""
    codes = np.random.default_rng(0).choice(np.array([-127, -126, 126, 127], np.int8), (AXES + 1, 640))
    codes[:, 0], codes[:, 1] = 127, -127
    asked = np.full((1, AXES + 1), 127, np.uint8)
    expected = asked.astype(np.int32) @ codes.astype(np.int32)
    (products,) = module._any_product().run(None, {"a": asked, "b": codes})
    assert np.array_equal(products, expected)
    (products,) = module._product(codes).run(None, {"a": asked})
    assert np.array_equal(products, expected)


@pytest.mark.parametrize("places", [1, 127, 128, 20_000])
def test_the_product_s_model_is_what_its_comments_say(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    models: list[bytes] = []
    session = module.onnxruntime.InferenceSession
    monkeypatch.setattr(
        module.onnxruntime,
        "InferenceSession",
        lambda model, *more, **others: models.append(model) or session(model, *more, **others),
    )
    module._product(np.full((3, places), -5, np.int8))
    module._any_product.__wrapped__()
    sealed, any_ = map(onnx.load_from_string, models)
    for model in (sealed, any_):
        (node,) = model.graph.node
        assert (node.op_type, list(node.input), list(node.output)) == ("MatMulInteger", ["a", "b"], ["s"])
        types = {each.name: each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)}
        assert types.pop("b", onnx.TensorProto.INT8) == onnx.TensorProto.INT8
        assert types == {"a": onnx.TensorProto.UINT8, "s": onnx.TensorProto.INT32}
        assert model.opset_import[0].version == 10
    (given,) = sealed.graph.initializer
    assert (given.name, given.data_type, list(given.dims)) == ("b", onnx.TensorProto.INT8, [3, places])
    assert given.data_location == onnx.TensorProto.EXTERNAL
    assert [(entry.key, entry.value) for entry in given.external_data] == [("location", "b")]
