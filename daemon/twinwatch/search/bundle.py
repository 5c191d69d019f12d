"""The trained artefact on disk: written by training, verified or refused by the daemon.

A bundle is a folder of `encoder.onnx`, `centroids.npy` (k x 256 float32) and `bundle.json`.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinwatch.errors import BundleError, ConfigError
from twinwatch.search.clusters import MOST_REMOTE, Centroids, radius_correction

FORMAT_VERSION = 1
EMBEDDING_DIM = 256
_FILES = ("encoder.onnx", "centroids.npy", "bundle.json")
_LEAST = 0.5  # share of the usual radius that any has, however close a picture lies to a centroid
SHIPPED = Path(__file__).parents[1] / "bundles"
_RETRAIN = "make it again with `twinwatch-train DATA --out BUNDLE`, or name another in model.bundle"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorRate(_Strict):
    """What was measured at the shipped levels, and on how many pictures."""

    edit_recall: dict[str, float] = Field(description="share of copies found, by edit")
    false_alarm_rate: float = Field(description="share of new pictures that would be nominated against a stranger")
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
    nomination_radius: float = Field(gt=0, description="L2 distance within which neighbours are nominated, usually")
    centroid_distance: float | None = Field(
        default=None, ge=0, description="usual L2 distance to the nearest centroid; none: the radius is always the same"
    )
    evidence_level: float = Field(ge=0, le=1, description="evidence score from which a nominee counts as a copy")
    error_rate: ErrorRate
    training: dict[str, int | float | str] = Field(description="data counts, seed, epochs, final loss")
    versions: dict[str, str] = Field(description="library versions the bundle was made with")
    seal: str | None = Field(default=None, description="sha256 of all of the above; earlier bundles have none")

    def sealed(self) -> Manifest:
        """Return the same with the seal that belongs to it."""
        # What it does not have says nothing, so that a seal from before there was such a thing still fits.
        content = self.model_dump_json(exclude={"seal"}, exclude_none=True)
        return self.model_copy(update={"seal": hashlib.sha256(content.encode()).hexdigest()})


class Bundle:
    """A verified bundle. `id` changes whenever the embeddings it gives could."""

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
        """(width, height) of the pixels that the encoder takes."""
        return self.manifest.input_width, self.manifest.input_height

    def radius(self, embedding: NDArray[np.float32]) -> float:
        """The L2 distance within which neighbours of float32 [256] are nominated."""
        usual = self.manifest.nomination_radius
        return max(usual + float(self.radius_correction(embedding[None])[0]), usual * _LEAST)

    @property
    def largest_radius(self) -> float:
        """What `radius` never exceeds."""
        return self.manifest.nomination_radius + MOST_REMOTE * (self.manifest.centroid_distance or 0.0)

    def radius_correction(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much the radii of float32 [N, 256] exceed the usual one, or fall short of it: float32 [N]."""
        usual = self.manifest.centroid_distance
        if usual is None:
            return np.zeros(len(embeddings), np.float32)
        return radius_correction(self._clusters.distances(embeddings), usual)


def bundle_path(name: str) -> Path:
    """Return the folder of a bundle given by the name of a shipped one, such as `default`, or by its path."""
    return SHIPPED / name if "/" not in name and (SHIPPED / name).is_dir() else Path(name)


def load_bundle(folder: Path) -> Bundle:
    """Read and verify the bundle in `folder`. Raises BundleError saying what was expected and what was found."""
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


def require_writable_target(out: Path) -> None:
    """Raises ConfigError unless a bundle may be written there: over one, or over what is left of a write cut short."""
    ours = {*_FILES, *(f"{name}.new" for name in _FILES)}
    if out.is_dir():
        taken = not (out / "bundle.json").exists() and not ours.issuperset(path.name for path in out.iterdir())
    else:
        taken = out.exists()
    if taken:
        raise ConfigError(f"--out {out}: exists and is not a bundle; name another")


def write_bundle(folder: Path, encoder: bytes, centroids: NDArray[np.float32], manifest: Manifest) -> Bundle:
    """Write the three files into `folder` and return the bundle as the daemon would load it.

    The two sha256 fields of `manifest` and its seal are filled in here. A bundle that stood there stays until all is
    on disk. Raises OSError where the disk does.
    """
    stored = io.BytesIO()
    np.save(stored, np.ascontiguousarray(centroids, dtype=np.float32), allow_pickle=False)
    complete = manifest.model_copy(
        update={
            "encoder_sha256": hashlib.sha256(encoder).hexdigest(),
            "centroids_sha256": hashlib.sha256(stored.getvalue()).hexdigest(),
        }
    )
    contents = {
        "encoder.onnx": encoder,
        "centroids.npy": stored.getvalue(),
        "bundle.json": (complete.sealed().model_dump_json(indent=2) + "\n").encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    fresh = {name: folder / f"{name}.new" for name in contents}
    try:
        for name, data in contents.items():
            _write_through(fresh[name], data)
        for name, path in fresh.items():  # a disk that is full has said so by now, and what stood here still stands
            path.replace(folder / name)
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)
    return load_bundle(folder)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _require_sha256(path: Path, expected: str) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}; {_RETRAIN}") from None
    if found != expected:
        raise BundleError(f"{path}: expected sha256 {expected}, found {found}; the bundle is damaged, {_RETRAIN}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
