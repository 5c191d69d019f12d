"""Converts every mode of Pillow to RGB: transparency over white, 16 bits and floating point to 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in mode RGB, with the EXIF data of the original."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _with_exif_of(image, Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return _with_exif_of(image, Image.alpha_composite(white, layered).convert("RGB"))
    return _with_exif_of(image, image.convert("RGB"))


def _to_eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    levels = values.astype(np.float64)  # [H, W]
    if np.issubdtype(values.dtype, np.floating):
        levels = np.nan_to_num(levels, posinf=0.0, neginf=0.0)
        low, high = float(levels.min()), float(levels.max())
        # Floating-point TIFFs have no agreed range: 0..1 where the values fit, else the range of the values.
        if low < 0 or high > 1:
            levels = (levels - low) / max(high - low, np.finfo(np.float64).tiny)
        return (levels * 255 + 0.5).astype(np.uint8)
    # Mode I holds 32-bit integers, mostly of 16-bit files; if all are below 256 they count as 8-bit levels.
    sixteen_bits = values.dtype.itemsize == 2 or levels.max() > 255
    return np.clip(levels / 257 if sixteen_bits else levels, 0, 255).astype(np.uint8)


def _with_exif_of(source: Image.Image, image: Image.Image) -> Image.Image:
    image.info.pop("transparency", None)
    image.getexif().update(source.getexif())
    return image
