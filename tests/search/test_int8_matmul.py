"""The product is exact in integers, and its graph is what its source says."""

from pathlib import Path

import numpy as np
import pytest

from twinwatch.search import int8_matmul as module
from twinwatch.search.codes import AXES
from twinwatch.search.int8_matmul import int8_products


@pytest.mark.parametrize("members", [2, 127, 128, 640, 20_000])
def test_the_product_is_one_of_whole_numbers_up_to_the_largest(members: int) -> None:
    """A processor that adds in 16 bits would give less."""
    codes = np.random.default_rng(0).choice(np.array([-127, -126, 126, 127], np.int8), (AXES + 1, members))
    codes[:, 0], codes[:, 1] = 127, -127
    query = np.full((1, AXES + 1), 127, np.uint8)
    expected = query.astype(np.int32) @ codes.astype(np.int32)
    assert np.array_equal(int8_products(query, codes), expected[0])


def test_the_graph_is_built_from_its_source() -> None:
    """Where this fails, build it anew with the command in the module's docstring."""
    onnx = pytest.importorskip("onnx")
    source = Path(module.__file__).with_suffix(".onnxtxt").read_text(encoding="utf-8")
    built = onnx.parser.parse_model(source)
    onnx.checker.check_model(built, full_check=True)
    assert built.SerializeToString(deterministic=True) == module._MODEL.read_bytes()


def test_the_graph_is_one_product_of_integers() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(module._MODEL)
    (node,) = model.graph.node
    assert (node.op_type, list(node.input), list(node.output)) == ("MatMulInteger", ["query", "codes"], ["products"])
    types = {each.name: each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)}
    tensor = onnx.TensorProto
    assert types == {"query": tensor.UINT8, "codes": tensor.INT8, "products": tensor.INT32}
    assert model.opset_import[0].version == 10
    assert not model.graph.initializer
