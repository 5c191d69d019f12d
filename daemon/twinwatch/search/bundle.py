"""A bundle: the trained encoder, its centroids and the levels measured for them. The daemon verifies it or refuses it.

It is a folder of `encoder.onnx`, `centroids.npy` (float32 [k, 256]) and `bundle.json` (the manifest).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinwatch.errors import BundleError
from twinwatch.search.clusters import MAX_CORRECTION, Centroids, radius_correction

FORMAT_VERSION = 1
EMBEDDING_DIM = 256
_MIN_RADIUS = 0.5  # share of the usual radius, however close an embedding is to its centroid
SHIPPED = Path(__file__).parents[1] / "bundles"
_RETRAIN = "make it again with `twinwatch-train DATA --out BUNDLE`, or name another in model.bundle"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorRate(_Strict):
    """Error rates measured at the shipped levels, and the number of pictures they were measured on."""

    edit_recall: dict[str, float] = Field(description="share of copies found, by edit")
    false_alarm_rate: float = Field(description="share of new pictures with a candidate that shows something else")
    library_pictures: int
    query_pictures: int


class Manifest(_Strict):
    """The contents of `bundle.json`."""

    format_version: Literal[1]
    preset: str
    encoder_sha256: str
    centroids_sha256: str
    input_height: int = Field(gt=0)
    input_width: int = Field(gt=0)
    colour: Literal["RGB"]
    resampling: Literal["bilinear"]
    embedding_dim: Literal[256]
    unit_norm: bool
    nomination_radius: float = Field(gt=0, description="usual L2 distance within which neighbours are candidates")
    centroid_distance: float | None = Field(
        default=None, ge=0, description="usual L2 distance to the nearest centroid; without it, all radii are the same"
    )
    evidence_level: float = Field(ge=0, le=1, description="evidence score from which a candidate counts as a copy")
    error_rate: ErrorRate
    training: dict[str, int | float | str] = Field(description="data counts, seed, epochs, final loss")
    versions: dict[str, str] = Field(description="library versions the bundle was made with")
    seal: str | None = Field(default=None, description="SHA-256 over all of the above; earlier bundles have none")

    def sealed(self) -> Manifest:
        """Return a copy with its seal filled in."""
        # Fields that are None are left out, so that seals made before such a field existed still match.
        content = self.model_dump_json(exclude={"seal"}, exclude_none=True)
        return self.model_copy(update={"seal": hashlib.sha256(content.encode()).hexdigest()})


class Bundle:
    """A verified bundle. Its `id` differs from that of every bundle whose embeddings may differ."""

    def __init__(self, folder: Path, manifest: Manifest, centroids: NDArray[np.float32]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.centroids = centroids  # [k, 256]
        self._clusters = Centroids(centroids)
        self.id = hashlib.sha256((manifest.encoder_sha256 + manifest.centroids_sha256).encode()).hexdigest()[:16]

    @property
    def encoder_path(self) -> Path:
        return self.folder / "encoder.onnx"

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height, in pixels, of the pictures that the encoder takes."""
        return self.manifest.input_width, self.manifest.input_height

    def radius(self, embedding: NDArray[np.float32]) -> float:
        """Return the L2 distance within which neighbours of float32 [256] are candidates."""
        usual = self.manifest.nomination_radius
        return max(usual + float(self.radius_correction(embedding[None])[0]), usual * _MIN_RADIUS)

    @property
    def largest_radius(self) -> float:
        """The largest `radius` of any embedding."""
        return self.manifest.nomination_radius + MAX_CORRECTION * (self.manifest.centroid_distance or 0.0)

    def radius_correction(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return by how much the radii of float32 [N, 256] differ from the usual one: float32 [N]."""
        usual = self.manifest.centroid_distance
        if usual is None:
            return np.zeros(len(embeddings), np.float32)
        return radius_correction(self._clusters.distances(embeddings), usual)


def bundle_path(name: str) -> Path:
    """Return the folder of a bundle, given the name of a shipped one, such as `default`, or a path."""
    return SHIPPED / name if "/" not in name and (SHIPPED / name).is_dir() else Path(name)


def load_bundle(folder: Path) -> Bundle:
    """Read and verify the bundle in `folder`. Raises BundleError with what was expected and what was found."""
    manifest_path = folder / "bundle.json"
    try:
        text = manifest_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = ", ".join(sorted(path.name for path in SHIPPED.glob("*") if path.is_dir())) or "none"
        raise BundleError(
            f"no bundle at {folder}: bundle.json is missing (shipped ones: {shipped}); {_RETRAIN}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {manifest_path}: {error}; {_RETRAIN}") from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise BundleError(f"{manifest_path} does not match: {place}: {first['msg']}; {_RETRAIN}") from None
    if manifest.seal is not None and manifest != manifest.sealed():
        raise BundleError(f"{manifest_path}: its content is not what was sealed; the bundle is damaged, {_RETRAIN}")
    _require_sha256(folder / "encoder.onnx", manifest.encoder_sha256)
    _require_sha256(folder / "centroids.npy", manifest.centroids_sha256)
    try:
        centroids = np.load(folder / "centroids.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{folder / 'centroids.npy'} is no array: {error}; {_RETRAIN}") from None
    if centroids.ndim != 2 or centroids.shape[1] != EMBEDDING_DIM or centroids.dtype != np.float32:
        raise BundleError(
            f"{folder / 'centroids.npy'}: expected float32 [k, {EMBEDDING_DIM}], "
            f"found {centroids.dtype} {list(centroids.shape)}; {_RETRAIN}"
        )
    if not len(centroids) or not np.isfinite(centroids).all():
        raise BundleError(f"{folder / 'centroids.npy'}: expected finite centroids, at least one; {_RETRAIN}")
    return Bundle(folder, manifest, centroids)


def _require_sha256(path: Path, expected: str) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; {_RETRAIN}") from None
    if found != expected:
        raise BundleError(f"{path}: expected sha256 {expected}, found {found}; the bundle is damaged, {_RETRAIN}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
