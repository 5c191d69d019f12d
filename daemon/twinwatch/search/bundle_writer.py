"""Writes a bundle: training after it has fitted one, calibration after it has measured new levels."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinwatch.errors import ConfigError
from twinwatch.search.bundle import Bundle, Manifest, load_bundle

_FILES = ("encoder.onnx", "centroids.npy", "bundle.json")


def require_writable_target(out: Path) -> None:
    """Raise ConfigError unless `out` is free, a bundle, or the remains of an interrupted `write_bundle`."""
    ours = {*_FILES, *(f"{name}.new" for name in _FILES)}
    if out.is_dir():
        taken = not (out / "bundle.json").exists() and not ours.issuperset(path.name for path in out.iterdir())
    else:
        taken = out.exists()
    if taken:
        raise ConfigError(f"--out {out}: exists and is not a bundle; name another")


def write_bundle(folder: Path, encoder: bytes, centroids: NDArray[np.float32], manifest: Manifest) -> Bundle:
    """Write the three files into `folder` and return the bundle as the daemon would load it.

    `centroids` is float32 [k, 256]. The two SHA-256 fields of `manifest` and its seal are filled in here. A bundle that
    is in `folder` already is replaced once all three files are on disk. Raises OSError if one cannot be written.
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
            _write_durably(fresh[name], data)
        for name, path in fresh.items():  # a full disk has failed above, before the old bundle is touched
            path.replace(folder / name)
    finally:
        for path in fresh.values():
            path.unlink(missing_ok=True)
    return load_bundle(folder)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
