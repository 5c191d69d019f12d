"""Files that attack a decoder: small ones that need much time or memory, and ones that only have a picture's name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZEROS = zlib.compress(bytes(100 << 20), 1)


def refused() -> dict[str, bytes]:
    """Return files, by name, that the daemon must refuse under limits of 50 megapixels and 512 MB."""
    return {
        "wide.png": _png(100_000, 100_000, _ZEROS),
        "endless.gif": b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,"
        + bytes(4)
        + b"\xff\xff\xff\xff\0\2\0;",
        "endless.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 10**6, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
        "swollen.tif": _swollen_tiff(),
        "tiles.tif": _tiff(64, 64, (322, 4, 1, 1 << 30), (323, 4, 1, 1 << 30), (324, 4, 1, 8), (325, 4, 1, 1 << 20)),
        "samples.tif": _tiff(7000, 7000, (277, 3, 1, 65535), (273, 4, 1, 8), (279, 4, 1, 1 << 31)),
        "profile.png": _png(64, 64, zlib.compress(bytes(64 * 193)), _chunk(b"iCCP", b"icc\0\0" + _ZEROS)),
        "text.png": _png(64, 64, zlib.compress(bytes(64 * 193)), _chunk(b"zTXt", b"Comment\0\0" + _ZEROS)),
        "drawing.jpg": b"<svg xmlns='http://www.w3.org/2000/svg' width='99999999' height='99999999'><rect/></svg>",
        "letter.jpg": b"Dear all, the picture is attached.",
        "archive.png": b"PK\3\4\x14\0\0\0\x08\0" + _ZEROS[:5000],
        "movie.heic": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2\0\0\0\x08free",
        "program.gif": b"\x7fELF\2\1\1" + bytes(5000),
        "print.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "empty.webp": b"",
    }


def taken() -> dict[str, bytes]:
    """Return files, by name, that the daemon must accept: a picture with far too much data after it."""
    return {
        "frames.gif": _gif_of(200_000),
        "promised.png": _png(64, 64, zlib.compress(bytes(64 * 193)), _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "more.png": _png(64, 64, _ZEROS),
    }


def slow(scans: int = 30_000) -> bytes:
    """Return a progressive JPEG that repeats its last scan: 14 bytes cost milliseconds of decoding."""
    buffer = io.BytesIO()
    Image.new("L", (2000, 2000), 100).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last_scan = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last_scan * scans + data[-2:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, pixels: bytes, more: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return SIGNATURE + header + more + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _tiff(width: int, height: int, *more: tuple[int, int, int, int]) -> bytes:
    """Uncompressed grey; entries are (tag, type, count, value)."""
    entries = sorted([(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), *more])
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)


def _swollen_tiff() -> bytes:
    """36 megapixels of 16 bits, 72 MB, which take eight times as much while they are scaled to 8 bits."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((6000, 6000), np.uint16)).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    return buffer.getvalue()


def _gif_of(frames: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (1, 1)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = data.index(b",")
    return data[:start] + data[start:-1] * frames + b";"
