"""ONNX Runtime session: pixels to embeddings."""

from __future__ import annotations

import ctypes
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from twinwatch.errors import BundleError, ConfigError
from twinwatch.search.bundle import EMBEDDING_DIM, Bundle

Device = Literal["auto", "cpu", "cuda"]

_CUDA = {
    "use_tf32": "0",  # its 10 bits would move an embedding by 0.03 from what the CPU computes
    "cudnn_conv_algo_search": "HEURISTIC",  # by trial it costs 100 ms for every new size of a batch, and gains nothing
}


class Encoder:
    """Embeds batches of pictures. `device` says where it really runs, `fallback` why that is not the GPU."""

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what matters of a missing GPU is said once, in `fallback`
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device != "cpu" and _load_cuda():
            providers.insert(0, ("CUDAExecutionProvider", _CUDA))
        try:
            self._session = onnxruntime.InferenceSession(str(bundle.encoder_path), options, providers=providers)
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises its own unrelated types
            raise BundleError(f"{bundle.encoder_path} does not load: {error}") from None
        self.device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        self.fallback = (
            "" if device == "cpu" or self.device == "cuda" else "no CUDA driver, or its libraries are not installed"
        )
        if device == "cuda" and self.device == "cpu":
            raise ConfigError("model.device: cuda is asked for, but no CUDA device or library is usable; "
                              "install the extra `cuda` and the driver, or set it to auto")  # fmt: skip
        width, height = bundle.input_size
        self._require("pixels", "tensor(uint8)", [height, width, 3], self._session.get_inputs())
        self._require("embedding", "tensor(float)", [EMBEDDING_DIM], self._session.get_outputs())

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 [N, 256] for uint8 [N, H, W, 3], RGB, of the bundle's input size."""
        (embedding,) = self._session.run(["embedding"], {"pixels": pixels})
        return np.asarray(embedding, dtype=np.float32)

    @staticmethod
    def _require(name: str, kind: str, tail: list[int], found: list[onnxruntime.NodeArg]) -> None:
        shown = ", ".join(f"{node.name} {node.type} {node.shape}" for node in found)
        if len(found) != 1 or (found[0].name, found[0].type, found[0].shape[1:]) != (name, kind, tail):
            raise BundleError(f"encoder.onnx: expected {name} {kind} [N, {', '.join(map(str, tail))}], found {shown}")


def _load_cuda() -> bool:
    """Let ONNX Runtime find the CUDA and cuDNN wheels of the `cuda` extra; False if there is no driver to use them."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    onnxruntime.set_default_logger_severity(4)
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
