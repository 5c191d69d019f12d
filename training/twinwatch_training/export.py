"""The trained encoder as ONNX, checked against torch, and the bundle that holds it."""

from __future__ import annotations

import io
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from twinwatch.errors import TwinwatchError
from twinwatch.search import Bundle, Manifest, write_bundle
from twinwatch_training.calibrate import Calibration
from twinwatch_training.cluster import Clusters
from twinwatch_training.data import Pictures, Split
from twinwatch_training.evaluate import Evaluation, onnx_embedder
from twinwatch_training.model import Exported, embedder
from twinwatch_training.presets import Preset
from twinwatch_training.train import Fitted

OPSET = 17
MAX_PARITY_ERROR = 1e-4
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Onnx:
    """An exported encoder.

    `parity_error`: the largest absolute difference of any number from what torch gives, before weights are rounded;
    `int8_error`: the median L2 distance by which rounding them to 8 bits moves an embedding, 0 if they are kept.
    """

    data: bytes
    parity_error: float
    int8_error: float


def export_onnx(fitted: Fitted, preset: Preset, sample: NDArray[np.uint8], typical: NDArray[np.uint8]) -> Onnx:
    """Export the encoder: `pixels` uint8 [N, side, side, 3] -> `embedding` float32 [N, 256].

    Raises TwinwatchError when it differs from torch by more than 1e-4 on `sample`, uint8 [N, side, side, 3]. Where the
    preset asks for 8-bit weights, `typical` pictures, of the same shape, tell the range of each layer.
    """
    model = fitted.model.to("cpu").eval()
    stored = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that follows needs onnxscript; this one needs nothing more and writes the same few operators.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Exported(model),
            (torch.zeros(2, preset.side, preset.side, 3, dtype=torch.uint8),),
            stored,  # type: ignore[arg-type]  # this exporter takes a stream, which its types leave out
            dynamo=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_axes={"pixels": {0: "n"}, "embedding": {0: "n"}},
        )
    data = stored.getvalue()
    ours, theirs = embedder(model, torch.device("cpu"))(sample), onnx_embedder(data)(sample)  # [N, 256] each
    error = float(np.abs(ours - theirs).max())
    if not error <= MAX_PARITY_ERROR:
        raise TwinwatchError(
            f"the ONNX file differs from torch by {error:.2g}, more than {MAX_PARITY_ERROR:g}; nothing was written: "
            f"report it with the versions of torch ({torch.__version__}) and onnxruntime ({onnxruntime.__version__})"
        )
    if not preset.int8:
        return Onnx(data, error, 0.0)
    rounded = _int8(data, typical)
    moved = np.linalg.norm(onnx_embedder(rounded)(sample) - theirs, axis=1)  # [N]
    return Onnx(rounded, error, float(np.median(moved)))


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """Pictures for onnxruntime to measure ranges on."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = iter(np.array_split(pixels, max(1, len(pixels) // _BATCH)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _int8(data: bytes, typical: NDArray[np.uint8]) -> bytes:
    """Round the convolutions' weights and inputs to 8 bits, which makes them more than twice as fast."""
    with tempfile.TemporaryDirectory() as scratch:
        exact, shaped, rounded = (Path(scratch) / name for name in ("exact.onnx", "shaped.onnx", "rounded.onnx"))
        exact.write_bytes(data)
        # Its optimisation would bring in operators of onnxruntime's own, and batch norms are folded already.
        quant_pre_process(exact, shaped, skip_optimization=True)
        quantize_static(
            shaped,
            rounded,
            _Batches(typical),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            # Seven bits of weight: eight overflow on processors without VNNI, and give other numbers there.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return rounded.read_bytes()


def write(
    *, out: Path, onnx: Onnx, fitted: Fitted, preset: Preset, pictures: Pictures, split: Split,
    clusters: Clusters, calibration: Calibration, evaluation: Evaluation,
) -> Bundle:  # fmt: skip
    """Write the bundle to `out` and return it as the daemon would load it."""
    run, last = fitted.run, fitted.history[-1]
    manifest = Manifest(
        format_version=1,
        preset=preset.name,
        encoder_sha256="",
        centroids_sha256="",
        input_height=preset.side,
        input_width=preset.side,
        colour="RGB",
        resampling="bilinear",
        embedding_dim=256,
        unit_norm=preset.unit_norm,
        nomination_radius=calibration.radius,
        centroid_distance=calibration.to_centroid,
        evidence_level=preset.evidence_level,
        error_rate=calibration.error_rate,
        training={
            "pictures": len(split.train),
            "held_out_pictures": len(split.held_out),
            "skipped_files": len(pictures.skipped),
            "measured_on": "held-out pictures only, none of them learned from",
            "data_fingerprint": run.fingerprint,
            "seed": run.seed,
            "epochs": run.epochs,
            "trained_on": fitted.trained_on,
            "seconds": round(sum(each.seconds for each in fitted.history), 1),
            "final_loss": last.total,
            "final_reconstruction_loss": last.reconstruction,
            "final_held_out_loss": last.held_out,
            "clusters": len(clusters.centroids),
            "onnx_opset": OPSET,
            "onnx_parity_error": onnx.parity_error,
            "int8_error": onnx.int8_error,
            "recall_false_alarm_rate": evaluation.false_alarm_rate,
            "recall_threshold": evaluation.threshold,
            "mean_recall": evaluation.mean_recall,
        },
        versions={name: version(name) for name in ("torch", "onnx", "scikit-learn", "numpy", "pillow")}
        | {"onnxruntime": onnxruntime.__version__, "twinwatch": version("twinwatch")},
    )
    return write_bundle(out, onnx.data, clusters.centroids, manifest)
