"""Does a file hold more pictures than the one that is decoded? Pages and frames count, previews and masks do not."""

from __future__ import annotations

import io
import struct

from PIL import Image

_SUBFILE_TYPE_TAG = 254  # TIFF 6.0: bit 0 marks a reduced version of another image, bit 2 a transparency mask
_REDUCED_OR_MASK = 0b101
_MAX_PAGES = 20  # looked at; a file with more counts as one of many pages


def has_more_frames(image: Image.Image, kind: str, data: bytes) -> bool:
    """Return True for a file of several pages or frames; `kind` is Pillow's name of its format."""
    if kind == "MPO":
        return False  # what a camera adds to its JPEG: a preview, a gain map, the other eye's view
    if kind == "HEIF" and _has_track(data):
        return True  # an image sequence, of which the decoder shows one picture
    if kind not in ("GIF", "TIFF"):
        return bool(getattr(image, "is_animated", False))
    with Image.open(io.BytesIO(data), formats=(kind,)) as other:  # asking moves an open image to another frame
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
    """True unless all further pages of a TIFF are the first page again, smaller, or a mask of it."""
    for frame in range(1, _MAX_PAGES):
        try:
            image.seek(frame)
        except EOFError:
            return False
        if not getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE_TAG, 0) & _REDUCED_OR_MASK:
            return True
    return True
