"""Bytes to pixels: limits, EXIF orientation and colour, the same for the daemon and for training.

The content decides what a file is, never its name. Only the first frame is read, and it is told whether that is all
that the file holds. Nothing is written.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from twinwatch.errors import UnreadableError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF", "JPEG2000")
MAX_MEGAPIXELS = 300.0  # more are refused, unless the configuration says otherwise
BLANK_DEVIATION = 2.0
"""Below this standard deviation of grey levels (0..255) a picture shows nothing that could be told from another."""

_RESAMPLING = Image.Resampling.BILINEAR
_SUBFILE_TYPE = 254  # TIFF 6.0: bit 0 marks a reduced version of another image, bit 2 a transparency mask
_REDUCED_OR_MASK = 0b101
_MOST_FRAMES = 20
# A drafted JPEG keeps at least so many times the pixels asked for on each side. For evidence it may just miss them, as
# 12 megapixels, of 4000 by 3000, are 1000 by 750 at a quarter, in half the time that 1024 by 768 take.
_DRAFT_FACTOR, _FIT_DRAFT_FACTOR = 1.5, 0.97
_LEAST_REDUCED = 2  # times the pixels asked for, that what is reduced by a whole factor keeps at least

pillow_heif.register_heif_opener(thumbnails=False)
Image.init()
# The limit on megapixels is ours and is tested before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Truncated or odd metadata makes Pillow warn; whether the pixels decode is all that counts here.
warnings.filterwarnings("ignore", module=r"PIL\..*")


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of one picture: uint8 [height, width, 3], RGB, upright; with the size and format of its file."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str
    multi_frame: bool = False  # the file holds more frames or pages, which nobody has looked at

    @property
    def blank(self) -> bool:
        """True for a picture that is nearly uniform, and so would match every other such picture."""
        # As a product: numpy's own mean over an axis so short is ten times slower.
        grey = self.pixels.reshape(-1, 3) @ np.full(3, 1 / 3, np.float32)  # [H * W]
        return float(grey.std()) < BLANK_DEVIATION


def decode_exact(data: bytes, size: tuple[int, int], max_megapixels: float) -> Picture:
    """Decode to exactly `size` (width, height), whatever the aspect: the form that the encoder takes.

    Raises UnreadableError for anything that is not wholly a picture within the limit.
    """
    return _decode(data, size, max_megapixels, keep_aspect=False)


def decode_fit(data: bytes, longest_side: int, max_megapixels: float) -> Picture:
    """Decode with the aspect kept and no side longer than `longest_side`: the form evidence takes.

    It is never enlarged, and up to 3% shorter where a JPEG can be decoded so.

    Raises UnreadableError for anything that is not wholly a picture within the limit.
    """
    return _decode(data, (longest_side, longest_side), max_megapixels, keep_aspect=True)


def _decode(data: bytes, size: tuple[int, int], max_megapixels: float, keep_aspect: bool) -> Picture:
    if not data:
        raise UnreadableError("empty file")
    try:
        return _load(data, size, max_megapixels, keep_aspect)
    except UnreadableError:
        raise
    except MemoryError:
        raise UnreadableError("needs more memory than limits.decode_memory_mb") from None
    # Pillow's decoders raise nearly anything on hostile bytes; each such file is one recorded refusal.
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError,
            AttributeError, AssertionError, NotImplementedError, RuntimeError, struct.error) as error:  # fmt: skip
        raise UnreadableError(_reason(error)) from None


def _load(data: bytes, size: tuple[int, int], max_megapixels: float, keep_aspect: bool) -> Picture:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = image.format or "unknown"
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise UnreadableError(f"larger than limits.max_megapixels: {megapixels:.0f} megapixels")
        # Twelve megapixels decode about five times faster at an eighth; draft does nothing to other formats.
        # Pillow turns TIFFs by itself, size included.
        turned = kind != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        full = (image.height, image.width) if turned else (image.width, image.height)
        target = _fit(full, max(size)) if keep_aspect else size
        stored = (target[1], target[0]) if turned else target
        multi_frame = _holds_more(image, kind, data)
        factor = _FIT_DRAFT_FACTOR if keep_aspect else _DRAFT_FACTOR
        image.draft("RGB", (math.ceil(stored[0] * factor), math.ceil(stored[1] * factor)))
        image.load()
        if kind == "PNG" and b"IEND" not in data:  # Pillow is content without the end, zlib's checksum included
            raise UnreadableError("damaged or not supported: image file is truncated")
        upright = ImageOps.exif_transpose(_to_rgb(_shrink(image, stored)))
        if keep_aspect and max(upright.size) < max(target):
            target = upright.size
        small = upright if upright.size == target else upright.resize(target, _RESAMPLING)
        pixels = np.asarray(small, dtype=np.uint8)  # [H, W, 3]
    return Picture(pixels, full[0], full[1], "JPEG" if kind == "MPO" else kind, multi_frame)


def _holds_more(image: Image.Image, kind: str, data: bytes) -> bool:
    """True for a file of several pages or frames; previews, masks and depth maps beside a photo are none."""
    if kind == "MPO":
        return False  # what a camera adds to its JPEG: a preview, a gain map, the other eye's view
    if kind == "HEIF" and _has_track(data):
        return True  # a sequence, of which the decoder shows one picture
    if kind not in ("GIF", "TIFF"):
        return bool(getattr(image, "is_animated", False))
    with Image.open(io.BytesIO(data), formats=(kind,)) as other:  # as looking on moves it to another frame
        return bool(getattr(other, "is_animated", False)) and (kind == "GIF" or _has_second_page(other))


def _has_track(data: bytes) -> bool:
    """True if a HEIF file has a movie among its outermost boxes (ISO/IEC 14496-12, 4.2)."""
    offset = 0
    while offset + 16 <= len(data):
        size, kind, long_size = struct.unpack_from(">I4sQ", data, offset)
        if kind == b"moov":
            return True
        size = long_size if size == 1 else size
        if size < 8:
            return False
        offset += size
    return False


def _has_second_page(image: Image.Image) -> bool:
    """True unless all that follows in a TIFF is the first page again, smaller, or a mask of it."""
    for frame in range(1, _MOST_FRAMES):
        try:
            image.seek(frame)
        except EOFError:
            return False
        if not getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK:
            return True
    return True


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Reduce by a whole factor first, which is fast, where the picture is far larger than what is wanted."""
    factor = min(image.width // (size[0] * _LEAST_REDUCED), image.height // (size[1] * _LEAST_REDUCED))
    if factor < 2 or image.mode in ("P", "1") or image.mode.startswith("I;"):
        return image
    reduced = image.reduce(factor)
    reduced.info = image.info
    reduced.getexif().update(image.getexif())
    return reduced


def _fit(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB; transparency over white, 16 bits and floating point scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _keeping_exif(image, Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        return _keeping_exif(image, Image.alpha_composite(ground, layered).convert("RGB"))
    return _keeping_exif(image, image.convert("RGB"))


def _to_eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    levels = values.astype(np.float64)  # [H, W]
    if np.issubdtype(values.dtype, np.floating):
        levels = np.nan_to_num(levels, posinf=0.0, neginf=0.0)
        low, high = float(levels.min()), float(levels.max())
        # Floating-point TIFFs have no agreed range: 0..1 where it fits, else the range that is there.
        if low < 0 or high > 1:
            levels = (levels - low) / max(high - low, np.finfo(np.float64).tiny)
        return (levels * 255 + 0.5).astype(np.uint8)
    # Mode I holds 32-bit integers, mostly of 16-bit files; small ones are taken for 8-bit levels.
    sixteen = values.dtype.itemsize == 2 or levels.max() > 255
    return np.clip(levels / 257 if sixteen else levels, 0, 255).astype(np.uint8)


def _keeping_exif(source: Image.Image, image: Image.Image) -> Image.Image:
    image.info.pop("transparency", None)
    image.getexif().update(source.getexif())
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a known format"
    text = str(error) or type(error).__name__
    if text.startswith("image file is truncated"):
        text = "image file is truncated"  # Pillow adds how much it had not looked at yet, which is not what is missing
    return f"damaged or not supported: {text}"
