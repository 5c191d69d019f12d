"""The product of a query's code with the codes of many members, exact in integers.

ONNX Runtime computes it, from the one node in `int8_matmul.onnx`. That file is built from its source beside it:

    python -c "import onnx; onnx.save(onnx.parser.parse_model(open('int8_matmul.onnxtxt').read()), 'int8_matmul.onnx')"

ONNX Runtime is the fastest of the libraries measured. It takes 3.3 ms for a million codes of 64 bytes on one core, the
speed of memory. faiss (IndexScalarQuantizer) takes 3.8 ms, Numba 3.9, SimSIMD 5.1, numpy in float32 11.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_MODEL = Path(__file__).with_suffix(".onnx")


def int8_products(query: NDArray[np.uint8], codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return the products, int32 [members], of uint8 [1, axes] with each column of int8 [axes, members].

    Codes are an input of the graph: as one of its constants they would be packed into another layout, from which the
    product of a single row takes twice as long.
    """
    (products,) = _session().run(None, {"query": query, "codes": codes})  # [1, members]
    return np.asarray(products[0], np.int32)


@cache
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena would keep the products of the largest query
    return onnxruntime.InferenceSession(str(_MODEL), options, providers=["CPUExecutionProvider"])
