"""A code never rules out a member within the radius."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from search.contract import Library, libraries
from twinwatch.search.base import Vectors
from twinwatch.search.codes import AXES, NO_SCORE, Quantizer
from twinwatch.search.int8_matmul import int8_products


def stacked(library: Library) -> Vectors:
    """Return members, queries and centroids, float32 [n, dim]."""
    return np.stack([*library.members.values(), *library.queries, *library.centroids])


@settings(max_examples=100, deadline=None)
@given(libraries(), st.floats(1, 1000))
def test_every_member_reaches_the_score_of_its_own_distance(library: Library, far: float) -> None:
    embeddings = stacked(library)
    quantizer = Quantizer.fit(library.centroids)
    members = np.asarray(np.concatenate((embeddings, far * embeddings)), np.float32)  # [n, dim]
    codes = quantizer.encode(members)
    for query in members[:: max(1, len(members) // 7)]:
        code = quantizer.encode_query(query)
        scores = int8_products(code.values, np.ascontiguousarray(codes.values.T)) + codes.offsets  # [n]
        for score, member in zip(scores, members, strict=True):
            distance = float(np.linalg.norm(member.astype(np.float64) - query))
            slack = codes.max_error + 1e-4 * (1 + distance + float(np.linalg.norm(query)))
            assert score >= code.min_score(distance, slack)


@settings(max_examples=50, deadline=None)
@given(libraries())
def test_codes_fit_the_types_of_the_product(library: Library) -> None:
    quantizer = Quantizer.fit(stacked(library))
    far = 1000 * stacked(library)  # clipped to the box
    codes = quantizer.encode(far)
    assert codes.values.dtype == np.int8
    assert codes.values.shape == (len(far), quantizer.code_size)
    assert quantizer.code_size == min(AXES, far.shape[1]) + 1
    assert np.abs(codes.values.astype(int)).max() <= 126
    for query in far:
        code = quantizer.encode_query(query)
        assert (code.values.dtype, code.values.shape) == (np.uint8, (1, quantizer.code_size))
        assert 1 <= code.values.min() <= code.values.max() <= 127


def test_no_radius_is_so_large_that_a_row_without_a_member_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    quantizer = Quantizer.fit(rng.normal(size=(20, 64)).astype(np.float32))
    code = quantizer.encode_query(np.zeros(64, np.float32))
    extreme = int8_products(code.values, np.full((quantizer.code_size, 1), -127, np.int8))[0]
    assert NO_SCORE + abs(int(extreme)) < code.min_score(1e30, 0.0)


def test_a_sample_of_one_point_makes_a_grid() -> None:
    quantizer = Quantizer.fit(np.ones((3, 64), np.float32))
    assert quantizer.step > 0
    assert quantizer.encode(np.ones((1, 64), np.float32)).max_error == pytest.approx(0, abs=1e-4)
