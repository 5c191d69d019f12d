"""Bytes to pixels: every format, upright and in RGB; everything else is refused, and by nothing but UnreadableError."""

import io
import random
import resource
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from paint import paint
from PIL import Image, TiffImagePlugin

from twinwatch.decoding import Picture, decode_exact, decode_fit
from twinwatch.decoding.decode import FORMATS
from twinwatch.errors import UnreadableError

# pytest resets the filter that the module sets for Pillow's warnings about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

ORIENTED: dict[int, Image.Transpose | None] = {  # how an upright picture is stored under each EXIF orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SCENE = paint(1, 200, 150)
OTHER = paint(2, 200, 150)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def array(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image, np.int16)  # [H, W, 3]


def apart(picture: Picture, image: Image.Image) -> float:
    """Mean difference in grey levels; the shapes must agree."""
    assert picture.pixels.shape == (image.height, image.width, 3)
    return float(np.abs(picture.pixels.astype(np.int16) - array(image)).mean())


def fit(data: bytes, longest_side: int = 1000, max_megapixels: float = 300) -> Picture:
    return decode_fit(data, longest_side, max_megapixels)


def refusal(data: bytes, max_megapixels: float = 300) -> str:
    with pytest.raises(UnreadableError) as caught:
        decode_exact(data, (32, 32), max_megapixels)
    assert str(caught.value)
    return str(caught.value)


FILES: dict[str, tuple[str, bytes]] = {  # name: (format that is reported, a file of one frame)
    "jpeg": ("JPEG", save(SCENE, "JPEG", quality=95)),
    "progressive": ("JPEG", save(SCENE, "JPEG", quality=95, progressive=True)),
    "png": ("PNG", save(SCENE, "PNG")),
    "interlaced": ("PNG", save(SCENE.convert("RGBA"), "PNG")),
    "webp": ("WEBP", save(SCENE, "WEBP", quality=95)),
    "webp-lossless": ("WEBP", save(SCENE, "WEBP", lossless=True)),
    "gif": ("GIF", save(SCENE.quantize(255), "GIF")),
    "bmp": ("BMP", save(SCENE, "BMP")),
    "tiff": ("TIFF", save(SCENE, "TIFF")),
    "tiff-lzw": ("TIFF", save(SCENE, "TIFF", compression="tiff_lzw")),
    "tiff-jpeg": ("TIFF", save(SCENE, "TIFF", compression="jpeg", quality=95)),
    "heic": ("HEIF", save(SCENE, "HEIF", quality=90)),
    "avif": ("AVIF", save(SCENE, "AVIF", quality=90)),
    "jp2": ("JPEG2000", save(SCENE, "JPEG2000")),
    "j2k": ("JPEG2000", save(SCENE, "JPEG2000", no_jp2=True)),
}


def test_every_format_is_tried() -> None:
    assert {kind for kind, _ in FILES.values()} == set(FORMATS)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_of_each_format_is_decoded(name: str) -> None:
    kind, data = FILES[name]
    picture = fit(data)
    assert (picture.width, picture.height, picture.format) == (200, 150, kind)
    assert picture.pixels.dtype == np.uint8
    assert apart(picture, SCENE) < 6  # a palette of 255 colours comes to 5
    assert apart(picture, OTHER) > 30


@pytest.mark.parametrize("name", FILES)
def test_both_forms_show_the_same(name: str) -> None:
    data = FILES[name][1]
    exact = decode_exact(data, (100, 75), 300)
    assert (exact.width, exact.height) == (200, 150)
    assert np.abs(exact.pixels - fit(data, 100).pixels.astype(int)).mean() < 3  # JPEGs are decoded at two scales


@pytest.mark.parametrize(("width", "height"), [(800, 600), (600, 800), (806, 604)])
def test_a_jpeg_that_just_misses_the_side_at_a_whole_scale_is_taken_so(width: int, height: int) -> None:
    large = io.BytesIO()
    SCENE.resize((width, height)).save(large, "JPEG", quality=95)
    pixels = fit(large.getvalue(), 205).pixels
    assert pixels.shape == (round(height / 4 + 0.25), round(width / 4 + 0.25), 3)
    assert fit(large.getvalue(), 210).pixels.shape[:2] == tuple(
        round(side * 210 / max(width, height)) for side in (height, width)
    )


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name: str) -> None:
    data = FILES[name][1]
    for end in np.linspace(1, len(data) - 13, 100).astype(int):
        refusal(data[:end])


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_its_last_bytes_is_refused_or_whole(name: str) -> None:
    """A GIF's end mark and the checksum of PNG's hold nothing of the picture."""
    data = FILES[name][1]
    whole = fit(data).pixels
    for missing in range(1, 13):
        try:
            pixels = fit(data[:-missing]).pixels
        except UnreadableError:
            continue
        assert np.array_equal(pixels, whole)


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_picture_do_not_matter(name: str) -> None:
    kind, data = FILES[name]
    assert np.array_equal(fit(data + b"\0" * 100).pixels, fit(data).pixels), kind


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_one_frame_holds_no_more(name: str) -> None:
    assert not fit(FILES[name][1]).multi_frame


@pytest.mark.parametrize(("kind", "more"), [
    ("GIF", True), ("WEBP", True), ("PNG", True), ("TIFF", True), ("AVIF", True), ("HEIF", True), ("MPO", False),
])  # fmt: skip
def test_a_file_of_several_frames_says_so_and_what_a_camera_adds_is_none(kind: str, more: bool) -> None:
    assert fit(save(SCENE, kind, save_all=True, append_images=[OTHER])).multi_frame is more


@pytest.mark.parametrize(("subfile_type", "more"), [(0, True), (1, False), (2, True), (4, False)])
def test_a_preview_or_mask_in_a_tiff_is_no_page(subfile_type: int, more: bool) -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer) as pages:
        for image, what in ((SCENE, 0), (OTHER, subfile_type)):
            image.save(pages, "TIFF", tiffinfo={254: what})
            pages.newFrame()
    assert fit(buffer.getvalue()).multi_frame is more


def test_a_heic_with_a_track_is_a_sequence() -> None:
    assert fit(FILES["heic"][1] + struct.pack(">I4sQ", 16, b"moov", 0)).multi_frame
    assert not fit(FILES["heic"][1] + struct.pack(">I4sQ", 16, b"mpvd", 0)).multi_frame


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_the_first_frame_is_the_picture(kind: str) -> None:
    first = SCENE.quantize(255) if kind == "GIF" else SCENE
    picture = fit(save(first, kind, save_all=True, append_images=[OTHER, paint(3, 200, 150)]))
    assert picture.format == ("JPEG" if kind == "MPO" else kind)
    assert apart(picture, SCENE) < 8
    assert apart(picture, OTHER) > 30


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize(("kind", "most"), [
    ("JPEG", 7), ("PNG", 0), ("WEBP", 7), ("HEIF", 7), ("AVIF", 7), ("MPO", 7), ("TIFF", 0),
])  # fmt: skip
def test_every_orientation_is_turned_upright(kind: str, most: float, orientation: int) -> None:
    turn = ORIENTED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = SCENE if turn is None else SCENE.transpose(turn)
    frames = {"save_all": True, "append_images": [OTHER]} if kind == "MPO" else {}
    # Pillow's TIFF takes nothing but a tag of its own, pillow-heif nothing but bytes.
    how: dict[str, Any] = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif.tobytes()}
    picture = fit(save(stored, kind, **how, **frames))
    assert (picture.width, picture.height) == (200, 150)
    assert apart(picture, SCENE) <= most


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_picture_is_turned_upright_however_it_is_shrunk(kind: str, orientation: int) -> None:
    scene = _large_scene()
    turn = ORIENTED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(scene if turn is None else scene.transpose(turn), kind, exif=exif)
    picture = fit(data, 64)
    assert (picture.width, picture.height) == (1201, 800)
    assert apart(picture, scene.resize((64, 43), Image.Resampling.BOX)) < 6
    exact = decode_exact(data, (48, 64), 300)
    assert apart(exact, scene.resize((48, 64), Image.Resampling.BOX)) < 6


def _large_scene() -> Image.Image:
    small: Image.Image = paint(4, 240, 160)
    return small.resize((1201, 800), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert apart(fit(save(SCENE, "PNG", exif=exif)), SCENE) == 0


def test_damaged_metadata_does_not_keep_the_picture_from_being_read() -> None:
    data = save(SCENE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40)
    picture = fit(data)
    assert (picture.width, picture.height) == (200, 150)


def test_content_decides_not_the_kind_that_was_meant() -> None:
    """No name is passed at all, and every format is told from the first bytes."""
    assert {fit(data).format for _, data in FILES.values()} == set(FORMATS)


# Colour


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    assert apart(fit(save(SCENE.convert("CMYK"), kind, **({"quality": 95} if kind == "JPEG" else {}))), SCENE) < 6


def test_the_lab_colours_of_a_tiff_become_rgb() -> None:
    from PIL import ImageCms

    lab = ImageCms.applyTransform(
        SCENE,
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert lab is not None
    assert apart(fit(save(lab, "TIFF")), SCENE) < 20


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    ramp = np.linspace(0, 65535, 200 * 150).astype(np.uint16).reshape(150, 200)
    picture = fit(save(Image.fromarray(ramp), kind))
    levels = picture.pixels.astype(np.int16)
    assert np.abs(levels - (ramp // 257)[:, :, None].astype(np.int16)).max() <= 1
    assert levels.max() == 255


def test_thirty_two_bits_of_a_tiff_are_scaled() -> None:
    ramp = np.linspace(0, 65535, 200 * 150).astype(np.int32).reshape(150, 200)
    assert np.abs(fit(save(Image.fromarray(ramp), "TIFF")).pixels[:, :, 0] - ramp // 257.0).max() <= 1
    small = np.arange(200, dtype=np.int32)[None, :].repeat(3, axis=0)
    assert np.array_equal(fit(save(Image.fromarray(small), "TIFF")).pixels[0, :, 1], small[0])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-3.0, 7.0)])
def test_floating_point_of_a_tiff_is_scaled(low: float, high: float) -> None:
    ramp = np.linspace(low, high, 200 * 150, dtype=np.float32).reshape(150, 200)
    picture = fit(save(Image.fromarray(ramp), "TIFF"))
    expected = np.linspace(0, 255, 200 * 150).reshape(150, 200)
    assert np.abs(picture.pixels[:, :, 2] - expected).max() <= 1


def test_what_is_no_number_in_a_floating_point_tiff_is_black() -> None:
    ramp = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    ramp[0, 0], ramp[1, 1], ramp[2, 2] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        levels = fit(save(Image.fromarray(ramp), "TIFF")).pixels
    assert [int(levels[at, at, 0]) for at in range(3)] == [0, 0, 0]
    assert levels[9, 9, 0] == 255


@pytest.mark.parametrize("level", [-2.0, 5.0])
def test_a_uniform_floating_point_tiff_is_blank(level: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(save(Image.fromarray(np.full((20, 30), level, np.float32)), "TIFF")).blank


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_over_white(mode: str, kind: str) -> None:
    layered = Image.new(mode, (30, 20), (0, 0, 0, 255)[-len(mode) :])
    layered.paste((0,) * (len(mode) - 1) + (0,), (0, 0, 10, 20))
    layered.paste((0,) * (len(mode) - 1) + (128,), (10, 0, 20, 20))
    levels = fit(save(layered, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))).pixels
    assert np.array_equal(levels[5, 5], [255] * 3)
    assert np.abs(levels[5, 15].astype(int) - 127).max() <= 1
    assert np.array_equal(levels[5, 25], [0] * 3)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(kind: str) -> None:
    image = Image.new("P", (30, 20), 0)
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 200])
    image.paste(1, (10, 0, 20, 20))
    image.paste(2, (20, 0, 30, 20))
    levels = fit(save(image, kind, transparency=1)).pixels
    assert [tuple(int(level) for level in levels[5, x]) for x in (5, 15, 25)] == [
        (10, 20, 30), (255, 255, 255), (0, 0, 200)]  # fmt: skip


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (200, 0, 0)), ("L", 77)])
def test_a_transparent_colour_without_a_palette_is_white(mode: str, colour: Any) -> None:
    image = Image.new(mode, (30, 20), 0)
    image.paste(colour, (10, 0, 20, 20))
    levels = fit(save(image, "PNG", transparency=colour)).pixels
    assert [int(levels[5, x].min()) for x in (5, 15, 25)] == [0, 255, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    image = Image.new("1", (33, 20), 0)
    image.paste(1, (10, 0, 20, 20))
    levels = fit(save(image, kind)).pixels
    assert [int(levels[5, x, 1]) for x in (5, 15, 25)] == [0, 255, 0]
    assert set(np.unique(levels)) == {0, 255}


def test_a_transparent_oriented_picture_is_turned_and_laid_over_white() -> None:
    layered = Image.new("RGBA", (30, 20), (9, 9, 9, 255))
    layered.paste((0, 0, 0, 0), (0, 0, 30, 5))  # its top, as it is stored
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = fit(save(layered, "PNG", exif=exif))
    assert (picture.width, picture.height) == (20, 30)
    assert picture.pixels[:, 17].min() == 255  # the top of the stored picture is the right side
    assert picture.pixels[:, 3].max() == 9


# Sizes


@pytest.mark.parametrize(("size", "fitted"), [
    ((200, 150), (64, 48)), ((150, 200), (48, 64)), ((64, 48), (64, 48)), ((10, 7), (10, 7)), ((1, 1), (1, 1)),
    ((640, 1), (64, 1)), ((65, 64), (64, 63)),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_fitting_keeps_the_aspect_and_never_enlarges(kind: str, size: tuple[int, int], fitted: tuple[int, int]) -> None:
    picture = fit(save(SCENE.resize(size), kind), 64)
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape == (fitted[1], fitted[0], 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (200, 150)])
def test_exact_is_exact_whatever_the_aspect(size: tuple[int, int]) -> None:
    picture = decode_exact(save(SCENE.resize(size), "PNG"), (40, 30), 300)
    assert picture.pixels.shape == (30, 40, 3)
    assert (picture.width, picture.height) == size


def test_blank_is_nearly_uniform() -> None:
    def blank(image: Image.Image) -> bool:
        return fit(save(image, "PNG")).blank

    assert blank(Image.new("RGB", (50, 40), (3, 200, 9)))
    noise = np.random.default_rng(0).normal(128, 1, (40, 50)).astype(np.uint8)
    assert blank(Image.fromarray(noise))
    assert not blank(Image.fromarray(np.random.default_rng(0).normal(128, 6, (40, 50)).astype(np.uint8)))
    assert not blank(SCENE)
    assert blank(Image.new("RGBA", (50, 40), (0, 0, 0, 0)))


# Refusals


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "empty file"),
    (b"Dear all, the picture is attached.", "not a picture in a known format"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect/></svg>", "not a picture in a known format"),
    (b"%PDF-1.7\n", "not a picture in a known format"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
    (b"\0" * 5000, "not a picture in a known format"),
    (b"P6 1 1 255 abc", "not a picture in a known format"),
])  # fmt: skip
def test_what_is_no_picture_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


def test_a_damaged_picture_is_refused_with_a_reason() -> None:
    data = FILES["jpeg"][1]
    assert refusal(data[: len(data) // 2]).startswith("damaged or not supported: ")


def test_a_damaged_checksum_is_refused() -> None:
    data = bytearray(FILES["png"][1])
    data[len(data) // 2] ^= 1
    refusal(bytes(data))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_bomb(width: int, height: int) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(10**6))) + _chunk(b"IEND", b"")


def _gif_bomb(width: int, height: int) -> bytes:
    frame = struct.pack("<HHHH", 0, 0, width, height)
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0," + frame + b"\0\x08\0;"


def _bmp_bomb(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 10**6, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("make", "width", "height"), [
    (_png_bomb, 20_000, 20_000), (_png_bomb, 2**31 - 1, 2**31 - 1), (_png_bomb, 2**31 - 1, 1),
    (_gif_bomb, 65_535, 65_535), (_bmp_bomb, 2**30, 2**30),
])  # fmt: skip
def test_a_bomb_is_refused_before_it_is_decoded(make: Callable[[int, int], bytes], width: int, height: int) -> None:
    data = make(width, height)
    before_kb, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert refusal(data) == f"larger than limits.max_megapixels: {width * height / 1e6:.0f} megapixels"
    assert time.process_time() - start_s < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def test_the_limit_itself_is_allowed() -> None:
    data = FILES["png"][1]  # 0.03 megapixels
    assert fit(data, max_megapixels=0.03).width == 200
    assert "limits.max_megapixels" in refusal(data, 0.0299)


@pytest.mark.parametrize("name", [*FILES, "mpo", "animation"])
def test_mutated_bytes_raise_nothing_but_a_refusal(name: str) -> None:
    """Most mutations hit the first bytes, where a format says what it is."""
    small = SCENE.resize((40, 30))
    more = {"save_all": True, "append_images": [OTHER.resize((40, 30))]}
    data = (
        save(small, "MPO", **more) if name == "mpo"
        else save(small.quantize(), "GIF", **more) if name == "animation"
        else FILES[name][1]
    )  # fmt: skip
    chance = random.Random(name)
    refused = 0
    for _ in range(60):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            reach = min(len(mutated), chance.choice((64, 300, len(mutated))))
            mutated[chance.randrange(reach)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        try:
            picture = decode_exact(bytes(mutated), (16, 12), 5)
        except UnreadableError:
            refused += 1
        else:
            assert picture.pixels.shape == (12, 16, 3)
    assert refused > 0


@pytest.mark.parametrize("start", [
    b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8 ", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
    b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypavif", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"II+\0",
])  # fmt: skip
def test_random_bytes_raise_nothing_but_a_refusal(start: bytes) -> None:
    chance = random.Random(start.hex())
    for length in (0, 1, 5, 20, 60, 200, 1000, 5000):
        for _ in range(4):
            refusal(start + chance.randbytes(length), max_megapixels=5)
