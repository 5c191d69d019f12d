"""Test pictures for fuzzing: small ones of every format and variant, and seeded damage that gets past the first bytes.

Fields to damage are found by their content: the picture's width or height, a chunk's length, a marker, a TIFF entry.
"""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from paint import paint
from PIL import Image

WIDTH, HEIGHT = 53, 37  # numbers that few other fields hold
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_WORDS = (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_LONGS = (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_NAME_OR_MARKER = re.compile(rb"[A-Za-z][A-Za-z0-9]{2}[A-Za-z0-9 ]|\xff[\x4f-\x65\x90-\x93\xc0-\xfe]")

pillow_heif.register_heif_opener(thumbnails=False)

Mutation = Callable[[random.Random, bytearray, bytes], bytearray]


@cache
def seeds() -> dict[str, bytes]:
    """Return a file for each format and each variant that decoders treat differently."""
    scene, other = paint(1, WIDTH, HEIGHT), paint(2, WIDTH, HEIGHT)
    clear = scene.convert("RGBA")
    clear.putalpha(other.convert("L"))
    grey, flat, bits = scene.convert("L"), scene.quantize(16), scene.convert("1")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    frames = {"save_all": True, "append_images": [other, scene]}
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg": (scene, "JPEG", {"exif": exif}),
        "jpeg-progressive": (scene, "JPEG", {"progressive": True, "subsampling": 2}),
        "jpeg-restarts": (scene, "JPEG", {"restart_marker_blocks": 2, "optimize": True}),
        "jpeg-grey": (grey, "JPEG", {}),
        "jpeg-cmyk": (scene.convert("CMYK"), "JPEG", {}),
        "mpo": (scene, "MPO", {"save_all": True, "append_images": [paint(3, WIDTH, HEIGHT)]}),
        "png": (scene, "PNG", {"exif": exif}),
        "png-clear": (clear, "PNG", {}),
        "png-palette": (flat, "PNG", {"transparency": 3}),
        "png-bits": (bits, "PNG", {}),
        "png-deep": (deep, "PNG", {}),
        "png-animated": (scene, "PNG", frames),
        "gif": (flat, "GIF", {}),
        "gif-interlaced": (flat, "GIF", {"interlace": 1, "transparency": 2}),
        "gif-animated": (flat, "GIF", frames | {"duration": 50}),
        "webp": (scene, "WEBP", {"exif": exif}),
        "webp-lossless": (scene, "WEBP", {"lossless": True}),
        "webp-clear": (clear, "WEBP", {}),
        "webp-animated": (scene, "WEBP", frames),
        "bmp": (scene, "BMP", {}),
        "bmp-palette": (flat, "BMP", {}),
        "bmp-bits": (bits, "BMP", {}),
        "bmp-clear": (clear, "BMP", {}),
        "tiff": (scene, "TIFF", {"tiffinfo": {0x0112: 6}}),
        "tiff-lzw": (scene, "TIFF", {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
        "tiff-deflate": (clear, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-packbits": (flat, "TIFF", {"compression": "packbits"}),
        "tiff-jpeg": (scene, "TIFF", {"compression": "jpeg"}),
        "tiff-fax": (bits, "TIFF", {"compression": "group4"}),
        "tiff-fax3": (bits, "TIFF", {"compression": "group3"}),
        "tiff-zstd": (scene, "TIFF", {"compression": "zstd"}),
        "tiff-deep": (deep, "TIFF", {}),
        "tiff-real": (real, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-cmyk": (scene.convert("CMYK"), "TIFF", {}),
        "tiff-lab": (Image.merge("LAB", scene.split()), "TIFF", {}),
        "tiff-big": (scene, "TIFF", {"big_tiff": True}),
        "tiff-pages": (scene, "TIFF", frames),
        "heic": (scene, "HEIF", {"exif": exif.tobytes()}),
        "heic-clear": (clear, "HEIF", {}),
        "heic-grey": (grey, "HEIF", {}),
        "heic-several": (scene, "HEIF", frames),
        "avif": (scene, "AVIF", {}),
        "avif-clear": (clear, "AVIF", {"subsampling": "4:4:4"}),
        "avif-animated": (scene, "AVIF", frames),
        "jp2": (scene, "JPEG2000", {}),
        "jp2-clear": (clear, "JPEG2000", {"irreversible": True}),
        "jp2-deep": (deep, "JPEG2000", {}),
        "j2k-tiled": (scene, "JPEG2000", {"no_jp2": True, "tile_size": (16, 16), "progression": "RPCL"}),
    }
    made = {name: _saved(image, kind, **options) for name, (image, kind, options) in wanted.items()}
    return made | {
        "png-interlaced": _interlaced_png(np.asarray(grey)),
        "bmp-rle": _rle_bmp(),
        "tiff-tiled": _tiled_tiff(np.asarray(grey), b"II", "<"),
        "tiff-tiled-motorola": _tiled_tiff(np.asarray(grey), b"MM", ">"),
    }


def damaged(number: int) -> bytes:
    """Return a damaged seed file. Successive numbers rotate through all formats and variants."""
    chance = random.Random(number)
    files = list(seeds().values())
    data, donor = bytearray(files[number % len(files)]), chance.choice(files)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        data = chance.choice(_MUTATIONS)(chance, data, donor)
    if data.startswith(_SIGNATURE) and chance.random() < 0.8:
        data = _with_checksums(data)
    return bytes(data)


def _flip_bits(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    for _ in range(chance.randint(1, 8)):
        if data:
            data[_place(chance, data)] ^= 1 << chance.randrange(8)
    return data


def _set_boundary(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    """Write a boundary value of one, two or four bytes at any place."""
    return _put(data, _place(chance, data), _boundary(chance))


def _set_field(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    """Write a boundary value beside a chunk's name or a marker, where lengths and kinds are."""
    marks = [match.start() for match in _NAME_OR_MARKER.finditer(data)]
    if not marks:
        return data
    return _put(data, max(0, chance.choice(marks) + chance.choice((-4, -2, 1, 2, 4, 6, 8, 12))), _boundary(chance))


def _set_side(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    """Write another width or height wherever the file holds one."""
    forms = [struct.pack(form, side) for form in (">I", "<I", ">H", "<H") for side in (WIDTH, HEIGHT)]
    places = [(match.start(), form) for form in forms for match in re.finditer(re.escape(form), data)]
    if not places:
        return data
    at, form = chance.choice(places)
    sides = (0, 1, WIDTH - 1, WIDTH + 1, 255, 4000, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
    side = min(chance.choice(sides), 256 ** len(form) - 1)
    return _put(data, at, side.to_bytes(len(form), "big" if form[0] == 0 else "little"))


def _set_entry(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    """Write another tag, type, count or value into the first directory of a TIFF or of EXIF data."""
    start = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    if start < 0 or len(data) < start + 10:
        return data
    order = "<" if data[start : start + 1] == b"I" else ">"
    (offset,) = struct.unpack_from(order + "I", data, start + 4)
    if start + offset + 2 > len(data):
        return data
    (count,) = struct.unpack_from(order + "H", data, start + offset)
    entry = start + offset + 2 + 12 * chance.randrange(max(1, min(count, 40)))
    form, within, values = chance.choice((("H", 0, _TAGS), ("H", 2, range(20)), ("I", 4, _LONGS), ("I", 8, _LONGS)))
    return _put(data, entry + within, struct.pack(order + form, chance.choice(values)))


def _truncate(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    return data[: chance.randint(0, len(data))]


def _duplicate(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _span(chance, data)
    return data[:end] + data[start:end] * chance.choice((1, 1, 1, 20)) + data[end:]


def _delete(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _span(chance, data)
    return data[:start] + data[end:]


def _move(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _span(chance, data)
    piece, rest = data[start:end], data[:start] + data[end:]
    at = chance.randint(0, len(rest))
    return rest[:at] + piece + rest[at:]


def _splice(chance: random.Random, data: bytearray, donor: bytes) -> bytearray:
    """Overwrite, insert or append a piece of another picture of any format."""
    start, end = _span(chance, bytearray(donor))
    at = chance.randint(0, len(data))
    rest = chance.choice((at, at + end - start, len(data)))
    return data[:at] + donor[start:end] + data[rest:]


def _randomise(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    start, end = _span(chance, data)
    return _put(data, start, chance.randbytes(end - start))


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits, _set_boundary, _set_boundary, _set_field, _set_field, _set_side, _set_entry,
    _truncate, _duplicate, _delete, _move, _splice, _randomise,
)  # fmt: skip
_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347)


def _place(chance: random.Random, data: bytearray) -> int:
    """Choose a place to damage, most often in the first bytes: decoders make most decisions there."""
    return chance.randrange(max(1, min(len(data), chance.choice((32, 300, len(data))))))


def _span(chance: random.Random, data: bytearray) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.choice((1, 4, 12, 64, 500)))


def _boundary(chance: random.Random) -> bytes:
    size, values = chance.choice(((1, _BYTES), (2, _WORDS), (4, _LONGS)))
    return chance.choice(values).to_bytes(size, chance.choice(("big", "little")))


def _put(data: bytearray, at: int, value: bytes) -> bytearray:
    """Overwrite bytes at a place; the file keeps its length."""
    fitting = value[: max(0, len(data) - at)]
    data[at : at + len(fitting)] = fitting
    return data


def _with_checksums(data: bytearray) -> bytearray:
    """Recompute the checksums of a PNG, so that decoders look at the damaged chunks."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return data


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # as saving a JPEG leaves settings behind in the image
    return buffer.getvalue()


def _interlaced_png(levels: NDArray[np.uint8]) -> bytes:
    """Return an Adam7 interlaced PNG, which Pillow reads but does not write (PNG, third edition, 8.1)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in levels[y::dy, x::dx]]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    data = bytearray(_SIGNATURE)
    for kind, content in chunks:
        data += struct.pack(">I", len(content)) + kind + content + b"none"
    return bytes(_with_checksums(data))


def _rle_bmp() -> bytes:
    """Return an 8-bit run-length encoded BMP, which Pillow reads but does not write."""
    rows = b"".join(bytes((20, y, 13, y * 3)) + b"\0\x14" + bytes(range(y, y + 20)) + b"\0\0" for y in range(HEIGHT))
    palette = b"".join(bytes((level, 255 - level, level // 2, 0)) for level in range(256))
    data, offset = rows + b"\0\1", 54 + len(palette)
    header = struct.pack(
        "<IIIIiiHHIIIIII", offset + len(data), 0, offset, 40, WIDTH, HEIGHT, 1, 8, 1, len(data), 0, 0, 256, 0
    )
    return b"BM" + header + palette + data


def _tiled_tiff(levels: NDArray[np.uint8], mark: bytes, order: str) -> bytes:
    """Return a TIFF of grey 16 x 16 tiles under deflate. Pillow reads but does not write it (TIFF 6.0, section 15)."""
    padded = np.pad(levels, ((0, -HEIGHT % 16), (0, -WIDTH % 16)))
    spots = [(y, x) for y in range(0, padded.shape[0], 16) for x in range(0, padded.shape[1], 16)]
    tiles = [zlib.compress(padded[y : y + 16, x : x + 16].tobytes()) for y, x in spots]
    entries = 10
    lists_at = 8 + 2 + 12 * entries + 4
    tiles_at = lists_at + 8 * len(tiles)
    offsets = [tiles_at + sum(map(len, tiles[:index])) for index in range(len(tiles))]
    short, long = 3, 4
    tags = (
        (256, short, 1, WIDTH), (257, short, 1, HEIGHT), (258, short, 1, 8), (259, short, 1, 8), (262, short, 1, 1),
        (277, short, 1, 1), (322, short, 1, 16), (323, short, 1, 16),
        (324, long, len(tiles), lists_at), (325, long, len(tiles), lists_at + 4 * len(tiles)),
    )  # fmt: skip
    directory = struct.pack(order + "H", entries)
    for tag, kind, count, value in tags:
        held = struct.pack(order + "HH", value, 0) if kind == short else struct.pack(order + "I", value)
        directory += struct.pack(order + "HHI", tag, kind, count) + held
    lists = struct.pack(f"{order}{2 * len(tiles)}I", *offsets, *map(len, tiles))
    head = mark + struct.pack(order + "HI", 42, 8)
    return head + directory + bytes(4) + lists + b"".join(tiles)
