"""The trained encoder as ONNX, checked against torch, and the bundle that holds it with all that was measured."""

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
from twinwatch_training.checkpoint import TrainedModel
from twinwatch_training.cluster import Clusters
from twinwatch_training.data import Pictures, Split
from twinwatch_training.evaluate import Evaluation, onnx_embedder
from twinwatch_training.model import Exported, embedder

OPSET = 17
MAX_PARITY_ERROR = 1e-4
_BATCH = 32  # pictures


@dataclass(frozen=True, slots=True)
class Onnx:
    """An exported encoder.

    `parity_error`: the largest absolute difference of any number of an embedding from torch, before quantisation.
    `int8_error`: the median L2 distance by which quantisation to 8 bits moves an embedding; 0 without it.
    """

    data: bytes
    parity_error: float
    int8_error: float


@dataclass(frozen=True, slots=True)
class RunResults:
    """What a run trained and measured, and on which pictures."""

    trained: TrainedModel
    pictures: Pictures
    split: Split
    clusters: Clusters
    calibration: Calibration
    evaluation: Evaluation


def export_onnx(trained: TrainedModel, sample: NDArray[np.uint8], typical: NDArray[np.uint8]) -> Onnx:
    """Export the encoder: `pixels` uint8 [N, side, side, 3] -> `embedding` float32 [N, 256].

    `sample` and `typical` are pictures of that shape: torch and ONNX are compared on the first. Quantisation, if the
    preset asks for it, measures the range of each layer on the second. Raises TwinwatchError when torch and ONNX differ
    by more than 1e-4.
    """
    preset, model = trained.preset, trained.model.to("cpu").eval()
    stored = io.BytesIO()
    with warnings.catch_warnings():
        # Its successor needs onnxscript; this exporter needs nothing more and writes the same few operators.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Exported(model),
            (torch.zeros(2, preset.side, preset.side, 3, dtype=torch.uint8),),
            stored,  # type: ignore[arg-type]  # it accepts a stream, which its types omit
            dynamo=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_axes={"pixels": {0: "n"}, "embedding": {0: "n"}},
        )
    data = stored.getvalue()
    by_torch, by_onnx = embedder(model, torch.device("cpu"))(sample), onnx_embedder(data)(sample)  # [N, 256] each
    error = float(np.abs(by_torch - by_onnx).max())
    if not error <= MAX_PARITY_ERROR:
        raise TwinwatchError(
            f"the ONNX file differs from torch by {error:.2g}, more than {MAX_PARITY_ERROR:g}; nothing was written: "
            f"report it with the versions of torch ({torch.__version__}) and onnxruntime ({onnxruntime.__version__})"
        )
    if not preset.int8:
        return Onnx(data, error, 0.0)
    quantised = _quantise(data, typical)
    moved = np.linalg.norm(onnx_embedder(quantised)(sample) - by_onnx, axis=1)  # [N]
    return Onnx(quantised, error, float(np.median(moved)))


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    """Feeds pictures to ONNX Runtime, which measures the range of each layer on them."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = iter(np.array_split(pixels, max(1, len(pixels) // _BATCH)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _quantise(data: bytes, typical: NDArray[np.uint8]) -> bytes:
    """Quantise weights and inputs of the convolutions to 8 bits, which makes them more than twice as fast."""
    with tempfile.TemporaryDirectory() as scratch:
        exact, shaped, quantised = (Path(scratch, name) for name in ("exact.onnx", "shaped.onnx", "quantised.onnx"))
        exact.write_bytes(data)
        # Its optimisation would add operators that only ONNX Runtime knows; batch norms are folded already.
        quant_pre_process(exact, shaped, skip_optimization=True)
        quantize_static(
            shaped,
            quantised,
            _Batches(typical),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            # 7-bit weights: 8 bits overflow on processors without VNNI, where they give other embeddings.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return quantised.read_bytes()


def write(out: Path, onnx: Onnx, results: RunResults) -> Bundle:
    """Write the bundle to `out` and return it as the daemon would load it."""
    return write_bundle(out, onnx.data, results.clusters.centroids, _manifest(onnx, results))


def _manifest(onnx: Onnx, results: RunResults) -> Manifest:
    """Everything of `bundle.json` but the checksums, which are filled in on writing."""
    trained, calibration, evaluation = results.trained, results.calibration, results.evaluation
    preset, settings, last = trained.preset, trained.settings, trained.history[-1]
    return Manifest(
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
            "pictures": len(results.split.train),
            "held_out_pictures": len(results.split.held_out),
            "skipped_files": len(results.pictures.skipped),
            "measured_on": "held-out pictures only, none of them learned from",
            "data_fingerprint": settings.fingerprint,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "trained_on": trained.trained_on,
            "seconds": round(sum(each.seconds for each in trained.history), 1),
            "final_loss": last.total,
            "final_reconstruction_loss": last.reconstruction,
            "final_held_out_loss": last.held_out,
            "clusters": len(results.clusters.centroids),
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
