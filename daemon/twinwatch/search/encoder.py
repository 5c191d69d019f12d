"""The encoder: pixels to embeddings, by ONNX Runtime on a GPU or the CPU."""

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
    "use_tf32": "0",  # the 10 bits of TF32 would move an embedding by 0.03 from the CPU's
    "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE takes 100 ms for each new batch size and gains nothing
}


class Encoder:
    """Embeds batches of pictures on `device`, `cuda` or `cpu`. If no GPU was found, `fallback` says why."""

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # a missing GPU is reported once, by `fallback`
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
        """Return the embeddings, float32 [N, 256], of uint8 [N, H, W, 3], RGB, in the bundle's input size."""
        (embedding,) = self._session.run(["embedding"], {"pixels": pixels})
        return np.asarray(embedding, dtype=np.float32)

    @staticmethod
    def _require(name: str, kind: str, tail: list[int], found: list[onnxruntime.NodeArg]) -> None:
        shown = ", ".join(f"{node.name} {node.type} {node.shape}" for node in found)
        if len(found) != 1 or (found[0].name, found[0].type, found[0].shape[1:]) != (name, kind, tail):
            raise BundleError(f"encoder.onnx: expected {name} {kind} [N, {', '.join(map(str, tail))}], found {shown}")


def _load_cuda() -> bool:
    """Load the CUDA and cuDNN libraries of the `cuda` extra. False without a CUDA driver or its execution provider."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    onnxruntime.set_default_logger_severity(4)
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
