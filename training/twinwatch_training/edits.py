"""The catalogue of edits that make a known copy: full pictures in, full pictures out, no chance involved.

For measuring, never for learning from; training views are in `views`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from twinwatch.decode import decode_exact, decode_fit
from twinwatch_training.data import MAX_MEGAPIXELS, Progress, in_threads

Edit = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""uint8 [H, W, 3] RGB -> uint8 [H', W', 3], at least one pixel a side."""

_LONGEST_SIDE = 2048  # larger pictures are reduced before they are edited
_SAVED_QUALITY = 95  # the edited picture is stored as a JPEG once more, as any editor would
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def _edit(change: Callable[[Image.Image], Image.Image]) -> Edit:
    def edit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.array(change(Image.fromarray(pixels)).convert("RGB"), dtype=np.uint8)

    return edit


def _blur(share_of_width: float) -> Edit:
    return _edit(lambda image: image.filter(ImageFilter.GaussianBlur(image.width * share_of_width)))


def _shift(share: float) -> Edit:
    """To the right and down; what is uncovered is black, what leaves the frame is lost."""

    def change(image: Image.Image) -> Image.Image:
        moved = Image.new("RGB", image.size, _BLACK)
        moved.paste(image, (round(image.width * share), round(image.height * share)))
        return moved

    return _edit(change)


def _turn(degrees: float) -> Edit:
    return _edit(lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_BLACK))


def _half(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def _jpeg(quality: int) -> Edit:
    def change(image: Image.Image) -> Image.Image:
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=quality)
        return Image.open(stored)

    return _edit(change)


def _crop(share: float) -> Edit:
    """Keep the middle, `share` less of each side."""

    def change(image: Image.Image) -> Image.Image:
        left, top = int(image.width * share / 2), int(image.height * share / 2)
        return image.crop((left, top, image.width - left, image.height - top))

    return _edit(change)


def _border(share: float) -> Edit:
    """White, `share` of the longer side on all four."""
    return _edit(lambda image: ImageOps.expand(image, max(1, round(max(image.size) * share)), _WHITE))


def _caption(image: Image.Image) -> Image.Image:
    """A black bar with a line of white text over the lowest eighth."""
    top = image.height - max(1, image.height // 8)
    captioned = image.copy()
    draw = ImageDraw.Draw(captioned)
    draw.rectangle((0, top, image.width, image.height), fill=_BLACK)
    size = max(6, (image.height - top) * 7 // 10)
    middle = (image.width // 2, (top + image.height) // 2)
    draw.text(middle, "when you see it", fill=_WHITE, font_size=size, anchor="mm")
    return captioned


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
        "jpeg_30": _jpeg(30),
        "jpeg_10": _jpeg(10),
        "crop_10": _crop(0.10),
        "crop_20": _crop(0.20),
        "brighter_25": _edit(lambda image: ImageEnhance.Brightness(image).enhance(1.25)),
        "contrast_30": _edit(lambda image: ImageEnhance.Contrast(image).enhance(1.30)),
        "grey": _edit(ImageOps.grayscale),
        "border_10": _border(0.10),
        "caption": _edit(_caption),
    }
)
"""Name -> edit, in the order in which tables show them."""

SEED_EDITS = ("blur_1", "shift_10", "rotate_180", "mirror")
"""The four edits of the seed's article."""


def edit_file(path: Path, name: str) -> NDArray[np.uint8]:
    """Return the picture in `path` after the edit called `name`: uint8 [H, W, 3]."""
    return EDITS[name](decode_fit(path.read_bytes(), _LONGEST_SIDE, MAX_MEGAPIXELS).pixels)


def edited_copies(paths: Sequence[Path], side: int, progress: Progress) -> dict[str, NDArray[np.uint8]]:
    """Edit every picture every way and decode the result as the daemon would: uint8 [N, side, side, 3] by edit."""

    def copies(path: Path) -> list[NDArray[np.uint8]]:
        full = decode_fit(path.read_bytes(), _LONGEST_SIDE, MAX_MEGAPIXELS).pixels  # [H, W, 3]
        return [decode_exact(_saved(edit(full)), (side, side), MAX_MEGAPIXELS).pixels for edit in EDITS.values()]

    out = np.empty((len(EDITS), len(paths), side, side, 3), dtype=np.uint8)
    with in_threads(copies, paths) as all_made:
        for row, made in enumerate(all_made):
            out[:, row] = made
            progress("edit held-out pictures", row + 1, len(paths))
    return dict(zip(EDITS, out, strict=True))


def _saved(pixels: NDArray[np.uint8]) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=_SAVED_QUALITY)
    return stored.getvalue()
