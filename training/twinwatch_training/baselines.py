"""The methods that a bundle is compared with: perceptual hashes by their libraries, and the article's encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact, decode_fit
from twinwatch.errors import ConfigError
from twinwatch.search import Bundle, bundle_path, load_bundle
from twinwatch_training.evaluate import onnx_embedder
from twinwatch_training.model import Embed

_HASHED_SIDE = 512  # pixels; more than enough, as both hashes reduce a picture to 64 a side or fewer
_INSTALL = "`.venv/bin/pip install -c constraints.txt -e '.[peers]'` adds it, or leave it out of --against"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to find copies by L2 distance.

    `take` turns the bytes of a file into an array of its own shape. `embed` turns N of these, uint8 [N, ...], into
    float32 [N, D].
    """

    name: str
    take: Callable[[bytes], NDArray[np.uint8]]
    embed: Embed
    bits: int = 0  # of a hash, whose squared L2 distance is the Hamming distance; 0 for an encoder


def encoder_method(name: str, bundle: Bundle) -> Method:
    """Return the encoder of a bundle as a method; `name` is what tables show."""
    size = bundle.input_size
    return Method(
        name, lambda data: decode_exact(data, size, MAX_MEGAPIXELS).pixels, onnx_embedder(bundle.encoder_path)
    )


def baselines(names: Sequence[str]) -> list[Method]:
    """Return methods by name: `phash`, `pdq` or `seed`. Raises ConfigError for other names and missing libraries."""
    for name in names:
        if name not in _KNOWN:
            raise ConfigError(f"--against: no method {name!r}; choose from {', '.join(_KNOWN)}")
    found = {name: _KNOWN[name]() for name in names}
    missing = [name for name, method in found.items() if method is None]
    if missing:
        raise ConfigError(f"{missing[0]} needs a library: {_INSTALL}")
    return [method for method in found.values() if method is not None]


def installed_baselines() -> list[Method]:
    """Return every method whose library is installed."""
    return [method for method in (make() for make in _KNOWN.values()) if method is not None]


def _phash() -> Method | None:
    try:
        import imagehash
    except ImportError:
        return None
    return Method("phash", lambda data: _bits(imagehash.phash(Image.fromarray(_pixels(data))).hash), _as_vectors, 64)


def _pdq() -> Method | None:
    try:
        import pdqhash
    except ImportError:
        return None
    return Method("pdq", lambda data: _bits(pdqhash.compute(_pixels(data))[0]), _as_vectors, 256)


def _seed() -> Method:
    return encoder_method("seed", load_bundle(bundle_path("seed")))


_KNOWN: dict[str, Callable[[], Method | None]] = {"phash": _phash, "pdq": _pdq, "seed": _seed}


def _pixels(data: bytes) -> NDArray[np.uint8]:
    return decode_fit(data, _HASHED_SIDE, MAX_MEGAPIXELS).pixels


def _bits(hashed: NDArray[np.generic]) -> NDArray[np.uint8]:
    return hashed.astype(np.uint8).ravel()


def _as_vectors(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    return bits.astype(np.float32)
