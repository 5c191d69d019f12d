"""Decodes files to upright RGB pixels within limits, the same for the daemon and for training.

The content says which format a file has, never its name. Only the first frame is decoded, and `Picture.multi_frame`
says whether the file holds more. Nothing is written.
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
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from twinwatch.decoding.frames import has_more_frames
from twinwatch.decoding.rgb import to_rgb
from twinwatch.errors import UnreadableError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF", "JPEG2000")
"""Pillow's names of the formats that are decoded."""
MAX_MEGAPIXELS = 300.0
"""Larger pictures are refused, unless the configuration sets another limit."""
MAX_BLANK_DEVIATION = 2.0
"""Standard deviation of grey levels (0..255) below which a picture is blank."""

_RESAMPLING = Image.Resampling.BILINEAR
# A JPEG decoded at reduced size keeps at least so many times the pixels asked for on each side. For evidence it may
# just miss them: 12 megapixels, of 4000 by 3000, are 1000 by 750 at a quarter, in half the time that 1024 by 768 take.
_MIN_DRAFT_FACTOR, _MIN_FIT_DRAFT_FACTOR = 1.5, 0.97
_MIN_REDUCED_FACTOR = 2  # the same for a picture reduced by a whole factor before it is resized

pillow_heif.register_heif_opener(thumbnails=False)
Image.init()
# Our own limit on megapixels is tested before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Truncated or odd metadata makes Pillow warn; all that matters here is whether the pixels decode.
warnings.filterwarnings("ignore", module=r"PIL\..*")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright RGB pixels, uint8 [H, W, 3], and the upright size and the format of its file."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str
    multi_frame: bool = False  # the file holds more frames or pages, which are not decoded

    @property
    def blank(self) -> bool:
        """True for a nearly uniform picture, which would resemble every other such picture: only its bytes tell it.

        This is about these pixels, at the size asked for. Evidence has a limit of its own on what it can correlate.
        """
        # As a product: numpy's own mean over so short an axis is ten times slower.
        grey = self.pixels.reshape(-1, 3) @ np.full(3, 1 / 3, np.float32)  # [H * W]
        return float(grey.std()) < MAX_BLANK_DEVIATION


def decode_exact(data: bytes, size: tuple[int, int], max_megapixels: float) -> Picture:
    """Decode to exactly `size` (width, height), whatever the aspect: the form that the encoder takes.

    Raises UnreadableError for anything but a complete picture within the limit.
    """
    return _decode(data, size, max_megapixels, keep_aspect=False)


def decode_fit(data: bytes, longest_side: int, max_megapixels: float) -> Picture:
    """Decode with the aspect kept and no side longer than `longest_side` pixels: the form that evidence takes.

    A picture is never enlarged. The result may be up to 3% smaller where a JPEG decodes faster so.

    Raises UnreadableError for anything but a complete picture within the limit.
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
    # Pillow's decoders raise nearly anything on hostile bytes. Each such file is recorded as unreadable.
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError,
            AttributeError, AssertionError, NotImplementedError, RuntimeError, struct.error) as error:  # fmt: skip
        raise UnreadableError(_reason(error)) from None


def _load(data: bytes, size: tuple[int, int], max_megapixels: float, keep_aspect: bool) -> Picture:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kind = image.format or "unknown"
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise UnreadableError(f"larger than limits.max_megapixels: {megapixels:.0f} megapixels")
        # Orientations 5 to 8 exchange width and height. Pillow turns TIFFs by itself, size included.
        turned = kind != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        full = (image.height, image.width) if turned else (image.width, image.height)
        target = _fit(full, max(size)) if keep_aspect else size
        stored = (target[1], target[0]) if turned else target
        multi_frame = has_more_frames(image, kind, data)
        # Twelve megapixels decode about five times faster at an eighth. Formats other than JPEG ignore `draft`.
        factor = _MIN_FIT_DRAFT_FACTOR if keep_aspect else _MIN_DRAFT_FACTOR
        image.draft("RGB", (math.ceil(stored[0] * factor), math.ceil(stored[1] * factor)))
        image.load()
        if kind == "PNG" and b"IEND" not in data:  # Pillow accepts one without its end
            raise UnreadableError("damaged or not supported: image file is truncated")
        upright = ImageOps.exif_transpose(to_rgb(_reduce(image, stored)))
        if keep_aspect and max(upright.size) < max(target):
            target = upright.size
        small = upright if upright.size == target else upright.resize(target, _RESAMPLING)
        pixels = np.asarray(small, dtype=np.uint8)  # [H, W, 3]
    return Picture(pixels, full[0], full[1], "JPEG" if kind == "MPO" else kind, multi_frame)


def _reduce(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Reduce a picture that is far larger than `size` by a whole factor, which is fast."""
    factor = min(image.width // (size[0] * _MIN_REDUCED_FACTOR), image.height // (size[1] * _MIN_REDUCED_FACTOR))
    if factor < 2 or image.mode in ("P", "1") or image.mode.startswith("I;"):
        return image
    reduced = image.reduce(factor)
    reduced.info = image.info
    reduced.getexif().update(image.getexif())
    return reduced


def _fit(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a known format"
    text = str(error) or type(error).__name__
    if text.startswith("image file is truncated"):
        text = "image file is truncated"  # Pillow adds how much it had not read yet, which is not what is missing
    return f"damaged or not supported: {text}"
