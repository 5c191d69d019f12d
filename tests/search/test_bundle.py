"""A bundle is verified or refused, and the refusal says what was expected and what was found."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinwatch.errors import BundleError
from twinwatch.search import Bundle, ErrorRate, Manifest, bundle as bundles, bundle_path, load_bundle, write_bundle

MANIFEST = Manifest(
    format_version=1, preset="default", encoder_sha256="", centroids_sha256="", input_height=48, input_width=64,
    colour="RGB", resampling="bilinear", embedding_dim=256, unit_norm=True, nomination_radius=0.5, evidence_level=0.6,
    error_rate=ErrorRate(edit_recall={"blur": 0.9}, false_alarm_rate=0.01, library_pictures=10, query_pictures=5),
    training={"pictures": 10}, versions={"torch": "2"},
)  # fmt: skip
CENTROIDS = np.arange(3 * 256, dtype=np.float32).reshape(3, 256)


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "bundle", b"encoder", CENTROIDS, MANIFEST)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.exit_code == 2
    assert "twinwatch-train" in str(caught.value)
    return str(caught.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    content.pop("seal", None)  # what is edited below is looked at by itself
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))


def seal_centroids(folder: Path) -> None:
    sha256 = bundles._sha256(folder / "centroids.npy")
    edit(folder, lambda content: content.update(centroids_sha256=sha256))


def test_the_radius_follows_the_distance_to_the_nearest_centroid(tmp_path: Path) -> None:
    update = {"centroid_distance": 1.0, "nomination_radius": 2.0}
    bundle = write_bundle(tmp_path / "bundle", b"", CENTROIDS, MANIFEST.model_copy(update=update))
    usual, near, far = (CENTROIDS[1] + step * np.eye(256, dtype=np.float32)[0] for step in (1.0, 0.2, 90.0))
    assert bundle.radius(usual) == pytest.approx(2, abs=1e-4)
    assert bundle.radius(near) == pytest.approx(2 - 0.75 * 0.8, abs=1e-4)
    assert bundle.radius(far) == pytest.approx(bundle.largest_radius) == pytest.approx(2.15)
    assert np.allclose(bundle.radius_correction(np.stack([usual, near, far])), [0, -0.6, 0.15], atol=1e-4)


def test_the_radius_of_a_bundle_without_that_distance_is_always_the_same(made: Bundle) -> None:
    assert made.radius(CENTROIDS[1]) == made.radius(CENTROIDS[0] + 90) == made.largest_radius == 0.5


def test_what_was_written_is_loaded(made: Bundle) -> None:
    loaded = load_bundle(made.folder)
    assert loaded.id == made.id
    assert np.array_equal(loaded.centroids, CENTROIDS)
    assert loaded.centroids.dtype == np.float32
    assert loaded.input_size == (64, 48)
    assert loaded.encoder_path.read_bytes() == b"encoder"
    assert loaded.manifest == made.manifest
    assert len(loaded.manifest.encoder_sha256) == 64


def test_the_id_follows_encoder_and_centroids_and_nothing_else(made: Bundle, tmp_path: Path) -> None:
    def other(encoder: bytes = b"encoder", centroids: Any = CENTROIDS, **changes: Any) -> str:
        return write_bundle(tmp_path / "other", encoder, centroids, MANIFEST.model_copy(update=changes)).id

    assert other() == made.id
    assert other(evidence_level=0.7, training={"pictures": 11}) == made.id
    assert other(encoder=b"other") != made.id
    assert other(centroids=CENTROIDS + 1) != made.id


def test_a_bundle_stands_until_the_next_is_all_on_disk(made: Bundle) -> None:
    folder = made.encoder_path.parent
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # as a disk that is full: writing more raises
    try:
        with pytest.raises(OSError):
            write_bundle(folder, b"x" * (2 << 20), CENTROIDS, MANIFEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_bundle(folder).id == made.id
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "centroids.npy", "encoder.onnx"]


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    assert "no bundle at" in refusal(tmp_path / "none")
    assert "bundle.json is missing" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["encoder.onnx", "centroids.npy"])
def test_a_missing_part_is_refused(made: Bundle, name: str) -> None:
    (made.folder / name).unlink()
    message = refusal(made.folder)
    assert f"cannot read {made.folder / name}" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 1', "\x00"])
def test_a_manifest_that_is_no_json_object_is_refused(made: Bundle, text: str) -> None:
    (made.folder / "bundle.json").write_text(text)
    assert "bundle.json does not match: " in refusal(made.folder)


def test_a_manifest_that_is_no_text_is_refused(made: Bundle) -> None:
    (made.folder / "bundle.json").write_bytes(b"\xff\xfe")
    assert "cannot read" in refusal(made.folder)
    (made.folder / "bundle.json").unlink()
    (made.folder / "bundle.json").mkdir()
    assert "cannot read" in refusal(made.folder)


@pytest.mark.parametrize(("key", "value"), [
    ("format_version", 2), ("format_version", "one"), ("embedding_dim", 128), ("colour", "BGR"),
    ("resampling", "nearest"), ("input_width", 0), ("input_height", -1), ("nomination_radius", 0),
    ("evidence_level", 1.5), ("unit_norm", "perhaps"), ("training", None),
])  # fmt: skip
def test_a_value_that_this_version_does_not_read_is_refused_by_name(made: Bundle, key: str, value: object) -> None:
    edit(made.folder, lambda content: content.update({key: value}))
    assert f"bundle.json does not match: {key}" in refusal(made.folder)


def test_a_missing_and_an_unknown_key_are_refused_by_name(made: Bundle) -> None:
    edit(made.folder, lambda content: content.update(colour_space="sRGB"))
    assert "colour_space" in refusal(made.folder)
    edit(made.folder, lambda content: (content.pop("colour_space"), content["error_rate"].pop("query_pictures")))
    assert "error_rate.query_pictures" in refusal(made.folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "centroids.npy"])
def test_a_changed_byte_is_refused_with_both_hashes(made: Bundle, name: str) -> None:
    path = made.folder / name
    expected = bundles._sha256(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    message = refusal(made.folder)
    assert f"expected sha256 {expected}" in message
    assert f"found {bundles._sha256(path)}" in message


@pytest.mark.parametrize(("centroids", "found"), [
    (np.zeros((3, 128), np.float32), "float32 [3, 128]"),
    (np.zeros(256, np.float32), "float32 [256]"),
    (np.zeros((3, 256), np.float64), "float64 [3, 256]"),
    (np.zeros((1, 3, 256), np.float32), "float32 [1, 3, 256]"),
])  # fmt: skip
def test_centroids_of_another_shape_are_refused(made: Bundle, centroids: Any, found: str) -> None:
    np.save(made.folder / "centroids.npy", centroids)
    seal_centroids(made.folder)
    message = refusal(made.folder)
    assert "expected float32 [k, 256]" in message
    assert f"found {found}" in message


@pytest.mark.parametrize("centroids", [np.zeros((0, 256), np.float32), np.full((2, 256), np.nan, np.float32)])
def test_centroids_that_nothing_can_be_near_are_refused(made: Bundle, centroids: Any) -> None:
    np.save(made.folder / "centroids.npy", centroids)
    seal_centroids(made.folder)
    assert "centroids.npy" in refusal(made.folder)


@pytest.mark.parametrize("data", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_centroids_that_are_no_array_are_refused(made: Bundle, data: bytes) -> None:
    (made.folder / "centroids.npy").write_bytes(data)
    seal_centroids(made.folder)
    assert "centroids.npy" in refusal(made.folder)


def test_centroids_cannot_run_anything(made: Bundle) -> None:
    np.save(made.folder / "centroids.npy", np.array([object()]), allow_pickle=True)
    seal_centroids(made.folder)
    assert "centroids.npy" in refusal(made.folder)


def test_a_name_is_a_shipped_bundle_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path)
    (tmp_path / "default").mkdir()
    assert bundle_path("default") == tmp_path / "default"
    assert bundle_path("./default") == Path("./default")
    assert bundle_path("/srv/mine") == Path("/srv/mine")
    assert bundle_path("other") == Path("other")
    assert "shipped ones: default" in refusal(Path("/srv/none"))
