"""The catalogue of edits that turn a picture into a known copy. Every edit is deterministic.

For measuring only: calibration, the leaderboard and the benchmarks use it. The encoder is never trained on it.
"""

from __future__ import annotations

import io
import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from twinwatch.decoding import MAX_MEGAPIXELS, decode_fit

Edit = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""uint8 [H, W, 3] RGB -> uint8 [H', W', 3], at least one pixel a side."""

_LONGEST_SIDE = 2048  # larger pictures are reduced before they are edited
_SAVED_QUALITY = 95  # JPEG quality of the edited picture, as editors save it
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def _edit(change: Callable[[Image.Image], Image.Image]) -> Edit:
    def edit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.array(change(Image.fromarray(pixels)).convert("RGB"), dtype=np.uint8)

    return edit


def _blur(share_of_width: float) -> Edit:
    return _edit(lambda image: image.filter(ImageFilter.GaussianBlur(image.width * share_of_width)))


def _shift(share: float) -> Edit:
    """Move to the right and down by `share` of each side; the uncovered part is black."""

    def change(image: Image.Image) -> Image.Image:
        moved = Image.new("RGB", image.size, _BLACK)
        moved.paste(image, (round(image.width * share), round(image.height * share)))
        return moved

    return _edit(change)


def _turn(degrees: float) -> Edit:
    return _edit(lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_BLACK))


def _half(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def _stored_as(format: str, **options: Any) -> Edit:
    """Save in a format of Pillow and read back."""

    def change(image: Image.Image) -> Image.Image:
        stored = io.BytesIO()
        image.save(stored, format, **options)
        return Image.open(stored)

    return _edit(change)


def _crop(share: float) -> Edit:
    """Keep the middle: `share` of the width and of the height is cut away."""

    def change(image: Image.Image) -> Image.Image:
        left, top = int(image.width * share / 2), int(image.height * share / 2)
        return image.crop((left, top, image.width - left, image.height - top))

    return _edit(change)


def _border(share: float) -> Edit:
    """Add a white border on all four sides, as wide as `share` of the longer side."""
    return _edit(lambda image: ImageOps.expand(image, max(1, round(max(image.size) * share)), _WHITE))


def _caption(image: Image.Image) -> Image.Image:
    """Cover the lowest eighth with a black bar and a line of white text."""
    top = image.height - max(1, image.height // 8)
    captioned = image.copy()
    draw = ImageDraw.Draw(captioned)
    draw.rectangle((0, top, image.width, image.height), fill=_BLACK)
    size = max(6, (image.height - top) * 7 // 10)
    middle = (image.width // 2, (top + image.height) // 2)
    draw.text(middle, "when you see it", fill=_WHITE, font_size=size, anchor="mm")
    return captioned


def _colour(level: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Edit:
    """Apply a function of float [H, W, 3] in 0..1 to every pixel."""

    def edit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = level((pixels / 255).astype(np.float32)).clip(0, 1)
        return (changed * 255 + 0.5).astype(np.uint8)

    return edit


def _turn_and_crop(degrees: float) -> Edit:
    """Rotate, and crop to the largest upright rectangle of the same aspect ratio without empty corners."""

    def change(image: Image.Image) -> Image.Image:
        angle = math.radians(degrees)
        width, height = image.size
        shrink = 1 / (math.cos(angle) + math.sin(angle) * max(width / height, height / width))
        left, top = round(width * (1 - shrink) / 2), round(height * (1 - shrink) / 2)
        return image.rotate(degrees, Image.Resampling.BICUBIC).crop((left, top, width - left, height - top))

    return _edit(change)


def _pad_square(image: Image.Image) -> Image.Image:
    """Pad with white to a square; a square picture becomes half as wide again."""
    side = max(image.size) if image.width != image.height else image.width * 3 // 2
    return ImageOps.pad(image, (side, max(image.size)), color=_WHITE)


def _screenshot(image: Image.Image) -> Image.Image:
    """Draw the window of a picture viewer around it: title bar with buttons, status bar, frame."""
    bar, frame = max(4, image.height // 10), max(2, image.width // 25)
    shot = Image.new("RGB", (image.width + 2 * frame, image.height + 2 * bar), (236, 236, 240))
    draw = ImageDraw.Draw(shot)
    draw.rectangle((0, 0, shot.width, bar), fill=(48, 52, 60))
    size = max(6, bar * 6 // 10)
    draw.text((bar, bar // 2), "IMG_2041.jpg - Viewer", fill=(230, 230, 230), font_size=size, anchor="lm")
    for button in range(3):
        middle = shot.width - bar * (button + 1)
        draw.ellipse((middle - bar // 4, bar // 4, middle + bar // 4, bar * 3 // 4), fill=(200, 90 + 40 * button, 80))
    draw.text((bar, shot.height - bar // 2), "100%  1 / 24", fill=(60, 60, 60), font_size=size, anchor="lm")
    shot.paste(image, (frame, bar))
    return shot


def _sticker(image: Image.Image) -> Image.Image:
    """Cover a fifth of the area with a round face, off the middle."""
    radius = math.sqrt(image.width * image.height / 5 / math.pi)
    x, y = image.width * 0.62, image.height * 0.4
    stuck = image.copy()
    draw = ImageDraw.Draw(stuck)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 205, 50), outline=_BLACK)
    for side in (-1, 1):
        eye, size = x + side * radius * 0.35, radius * 0.12
        draw.ellipse((eye - size, y - radius * 0.3 - size, eye + size, y - radius * 0.3 + size), fill=_BLACK)
    mouth = (x - radius * 0.5, y - radius * 0.4, x + radius * 0.5, y + radius * 0.6)
    draw.arc(mouth, 20, 160, fill=_BLACK, width=max(1, round(radius * 0.08)))
    return stuck


def _squeeze(share: float) -> Edit:
    return _edit(
        lambda image: image.resize((image.width, max(1, round(image.height * share))), Image.Resampling.BICUBIC)
    )


def _halftone(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Print and view from afar: threshold each channel with an ordered 4x4 pattern (Bayer 1973), then blur."""
    pattern = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) * 16 + 8
    height, width = pixels.shape[:2]
    screen = np.tile(pattern, (height // 4 + 1, width // 4 + 1))[:height, :width, None]  # [H, W, 1]
    printed = Image.fromarray(np.where(pixels > screen, 255, 0).astype(np.uint8))
    return np.array(printed.filter(ImageFilter.GaussianBlur(1)), dtype=np.uint8)


def _logo(image: Image.Image) -> Image.Image:
    """Put a small white plate with two letters into the lower right corner."""
    side = max(8, min(image.size) // 8)
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    right, low = image.width - side // 3, image.height - side // 3
    draw.rounded_rectangle((right - 2 * side, low - side, right, low), side // 4, fill=_WHITE)
    draw.text((right - side, low - side // 2), "tw", fill=(200, 30, 40), font_size=side * 7 // 10, anchor="mm")
    return marked


def _sharpen(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(2, 150, 2))


def _three_edits(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Apply three different edits of EDITS and HARD_EDITS, drawn by a checksum of the pixels."""
    drawn = random.Random(zlib.crc32(pixels.tobytes()))
    out = pixels
    for name in drawn.sample([*EDITS, *(each for each in HARD_EDITS if each != "three")], 3):
        out = (EDITS.get(name) or HARD_EDITS[name])(out)
    return out


EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "blur_1": _blur(0.01),
        "blur_2.5": _blur(0.025),
        "shift_10": _shift(0.10),
        "rotate_180": _edit(lambda image: image.transpose(Image.Transpose.ROTATE_180)),
        "rotate_90": _edit(lambda image: image.transpose(Image.Transpose.ROTATE_90)),
        "rotate_5": _turn(5),
        "mirror": _edit(ImageOps.mirror),
        "flip": _edit(ImageOps.flip),
        "half": _edit(_half),
        "jpeg_30": _stored_as("JPEG", quality=30),
        "jpeg_10": _stored_as("JPEG", quality=10),
        "crop_10": _crop(0.10),
        "crop_20": _crop(0.20),
        "brighter_25": _edit(lambda image: ImageEnhance.Brightness(image).enhance(1.25)),
        "contrast_30": _edit(lambda image: ImageEnhance.Contrast(image).enhance(1.30)),
        "grey": _edit(ImageOps.grayscale),
        "border_10": _border(0.10),
        "caption": _edit(_caption),
    }
)
"""Edits that every copy detector should find: name -> edit, in the order of tables."""

HARD_EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "crop_35": _crop(0.35),
        "crop_50": _crop(0.50),
        "rotate_15": _turn(15),
        "rotate_15_crop": _turn_and_crop(15),
        "blur_5": _blur(0.05),
        "darker_50": _colour(lambda levels: levels * 0.5),
        "brighter_60": _colour(lambda levels: levels * 1.6),
        "cast": _colour(lambda levels: levels * np.array([1.25, 0.95, 0.6], np.float32)),
        "square": _edit(_pad_square),
        "screenshot": _edit(_screenshot),
        "sticker": _edit(_sticker),
        "squeeze_75": _squeeze(0.75),
        "gamma_0.5": _colour(lambda levels: levels**0.5),
        "gamma_2": _colour(lambda levels: levels**2),
        "halftone": _halftone,
        "three": _three_edits,
    }
)
"""Harder edits. A good tool finds most of these copies."""

OTHER_EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "sharpen": _edit(_sharpen),
        "logo": _edit(_logo),
        "png": _stored_as("PNG"),
        "webp": _stored_as("WEBP", quality=80),
        "gif": _stored_as("GIF"),
        "jpeg2000": _stored_as("JPEG2000", quality_mode="rates", quality_layers=[20]),
    }
)
"""Edits that programs make on their own. They are reported beside the others and never averaged with them."""

ALL_EDITS: Mapping[str, Edit] = MappingProxyType({**EDITS, **HARD_EDITS, **OTHER_EDITS})

SEED_EDITS = ("blur_1", "shift_10", "rotate_180", "mirror")
"""The four edits that the article measures, from which the preset `seed` comes."""


def edit_file(path: Path, name: str) -> NDArray[np.uint8]:
    """Return the picture in `path` after the edit called `name`: uint8 [H, W, 3]."""
    return ALL_EDITS[name](_decoded(path))


def edited_bytes(path: Path) -> Iterator[bytes]:
    """Yield the picture in `path` after each edit of ALL_EDITS, in that order, encoded as JPEG as an editor would."""
    pixels = _decoded(path)
    for edit in ALL_EDITS.values():
        yield _encoded(edit(pixels))


def _decoded(path: Path) -> NDArray[np.uint8]:
    return decode_fit(path.read_bytes(), _LONGEST_SIDE, MAX_MEGAPIXELS).pixels


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=_SAVED_QUALITY)
    return stored.getvalue()
