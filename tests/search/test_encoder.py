"""The encoder takes models of one shape only, and a picture's embedding does not depend on its company."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from paint import paint

from twinwatch.errors import BundleError, ConfigError
from twinwatch.search import Bundle, Encoder, ErrorRate, Manifest, load_bundle, write_bundle

MANIFEST = Manifest(
    format_version=1, preset="default", encoder_sha256="", centroids_sha256="", input_height=4, input_width=8,
    colour="RGB", resampling="bilinear", embedding_dim=256, unit_norm=False, nomination_radius=0.5, evidence_level=0.6,
    error_rate=ErrorRate(edit_recall={}, false_alarm_rate=0.0, library_pictures=1, query_pictures=1),
    training={}, versions={},
)  # fmt: skip


def model(
    height: int = 4,
    width: int = 8,
    dim: int = 256,
    names: tuple[str, str] = ("pixels", "embedding"),
    taken: int = TensorProto.UINT8,
    given: int = TensorProto.FLOAT,
    more: bool = False,
) -> bytes:
    """Return a model that multiplies the flat pixels by random weights."""
    weights = np.random.default_rng(0).normal(size=(height * width * 3, dim)).astype(np.float32)
    inputs = [helper.make_tensor_value_info(names[0], taken, ["N", height, width, 3])]
    outputs = [helper.make_tensor_value_info(names[1], given, ["N", dim])]
    nodes = [
        helper.make_node("Cast", [names[0]], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Cast", ["product"], [names[1]], to=given),
    ]
    if more:
        outputs.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", height * width * 3]))
    constants = [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def bundle_of(tmp_path: Path, encoder: bytes) -> Bundle:
    return write_bundle(tmp_path / "bundle", encoder, np.zeros((1, 256), np.float32), MANIFEST)


def test_it_gives_what_the_model_computes(tmp_path: Path) -> None:
    encoder = Encoder(bundle_of(tmp_path, model()), "cpu")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 8, 3)).astype(np.uint8)
    weights = np.random.default_rng(0).normal(size=(96, 256)).astype(np.float32)
    embeddings = encoder.embed(pixels)
    assert embeddings.dtype == np.float32
    assert np.allclose(embeddings, pixels.reshape(5, 96).astype(np.float32) @ weights, rtol=1e-4, atol=1e-2)
    assert (encoder.device, encoder.fallback) == ("cpu", "")


@pytest.mark.parametrize(("encoder", "found"), [
    (model(height=8, width=4), "pixels tensor(uint8) ['N', 8, 4, 3]"),
    (model(dim=128), "embedding tensor(float) ['N', 128]"),
    (model(names=("image", "embedding")), "image tensor(uint8)"),
    (model(names=("pixels", "features")), "features tensor(float)"),
    (model(taken=TensorProto.FLOAT), "pixels tensor(float)"),
    (model(given=TensorProto.DOUBLE), "embedding tensor(double)"),
    (model(more=True), "flat tensor(float)"),
])  # fmt: skip
def test_a_model_of_another_shape_is_refused(tmp_path: Path, encoder: bytes, found: str) -> None:
    with pytest.raises(BundleError, match=r"encoder\.onnx: expected ") as caught:
        Encoder(bundle_of(tmp_path, encoder), "cpu")
    assert "found" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("encoder", [b"", b"no model at all", model()[:-500]])
def test_what_is_no_model_is_refused(tmp_path: Path, encoder: bytes) -> None:
    with pytest.raises(BundleError, match=r"encoder\.onnx (does not load|: expected)|encoder\.onnx: expected"):
        Encoder(bundle_of(tmp_path, encoder), "cpu")


def test_without_a_gpu_it_falls_back_and_says_so_or_refuses_where_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinwatch.search import encoder

    monkeypatch.setattr(encoder, "_load_cuda", lambda: False)
    made = bundle_of(tmp_path, model())
    auto = Encoder(made, "auto")
    assert auto.device == "cpu"
    assert "CUDA" in auto.fallback
    with pytest.raises(ConfigError, match=r"model\.device: cuda is asked for"):
        Encoder(made, "cuda")


def test_a_gpu_gives_the_embeddings_of_the_cpu(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    gpu, cpu = Encoder(loaded, "auto"), Encoder(loaded, "cpu")
    if gpu.device != "cuda":
        pytest.skip(f"needs a GPU: {gpu.fallback}")
    pixels = np.stack([np.asarray(paint(seed, *loaded.input_size)) for seed in range(40)])  # [40, H, W, 3]
    apart = np.linalg.norm(gpu.embed(pixels) - cpu.embed(pixels), axis=1)
    assert apart.max() < 0.05 * loaded.manifest.nomination_radius


def test_a_picture_alone_and_in_company_has_the_same_embedding(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    encoder = Encoder(loaded, "cpu")
    pixels = np.stack([np.asarray(paint(seed, *loaded.input_size)) for seed in range(7)])  # [7, H, W, 3]
    together = encoder.embed(pixels)
    assert together.shape == (7, 256)
    for number in range(7):
        alone = encoder.embed(pixels[number : number + 1])[0]
        assert np.linalg.norm(alone - together[number]) < 1e-4 * max(1.0, float(np.linalg.norm(alone)))
    apart = np.linalg.norm(together[:, None] - together[None, :], axis=2)[~np.eye(7, dtype=bool)]
    assert apart.min() > 1e-3  # so that the bound above says something


def test_the_shipped_bundle_is_whole(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    norms = np.linalg.norm(Encoder(loaded, "cpu").embed(np.asarray(paint(1, *loaded.input_size))[None]), axis=1)
    assert np.isfinite(norms).all()
    assert not loaded.manifest.unit_norm or norms == pytest.approx(1, abs=1e-3)
