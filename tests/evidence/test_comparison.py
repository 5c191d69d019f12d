"""Evidence on generated pictures: edits of one are copies, strangers and other figures on the same form are not."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from twinwatch.errors import UnreadableError
from twinwatch.evidence import View, ViewCache, compare

Pixels = NDArray[np.uint8]
Edit = Callable[[Pixels], Pixels]

COPY = 0.6


def photo(seed: int, width: int = 320, height: int = 240) -> Pixels:
    """Noise at several scales, as in leaves and cloth, with shapes of plain colour over it."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 60.0), (12, 40.0), (40, 25.0), (110, 15.0)):
        rough = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += 128
    for _ in range(12):
        colour = tuple(float(level) for level in rng.integers(20, 235, 3))
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = int(rng.integers(8, 40)), int(rng.integers(8, 40))
        cv2.ellipse(picture, centre, axes, float(rng.integers(0, 180)), 0, 360, colour, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def receipt(figures: int, lines: int = 26) -> Pixels:
    """One form of one shop: the same words in the same places, with figures of their own."""
    words, rng = np.random.default_rng(7), np.random.default_rng(figures)
    page = np.full((1000, 620, 3), 248, np.uint8)
    for line in range(lines):
        item = "".join(chr(letter) for letter in words.integers(65, 91, 16))
        price = f"{rng.integers(10, 9999) / 100:8.2f}" if line % 2 else ""
        text = f"{item} {price}"
        cv2.putText(page, text, (40, 60 + line * 34), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (25, 25, 25), 2, cv2.LINE_AA)
    return page


def jpeg(quality: int) -> Edit:
    def edit(picture: Pixels) -> Pixels:
        _, stored = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)

    return edit


def blur(share: float) -> Edit:
    return lambda picture: np.asarray(
        cv2.GaussianBlur(picture, (0, 0), picture.shape[1] * share, borderType=cv2.BORDER_REPLICATE), np.uint8
    )


def shift(picture: Pixels) -> Pixels:
    moved = np.zeros_like(picture)
    down, right = picture.shape[0] // 10, picture.shape[1] // 10
    moved[down:, right:] = picture[:-down, :-right]
    return moved


def turn(degrees: float) -> Edit:
    def edit(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)

    return edit


def crop(share: float) -> Edit:
    def edit(picture: Pixels) -> Pixels:
        down, right = int(picture.shape[0] * share / 2), int(picture.shape[1] * share / 2)
        return picture[down:-down, right:-right]

    return edit


def half(picture: Pixels) -> Pixels:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def levels(gain: float, lift: float) -> Edit:
    return lambda picture: np.clip(picture * gain + lift, 0, 255).astype(np.uint8)


def grey(picture: Pixels) -> Pixels:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(np.uint8)


def border(picture: Pixels) -> Pixels:
    return np.pad(picture, ((32, 32), (32, 32), (0, 0)), constant_values=255)


def caption(picture: Pixels) -> Pixels:
    captioned = picture.copy()
    top = picture.shape[0] * 7 // 8
    captioned[top:] = 0
    scale = picture.shape[0] / 400
    place = (picture.shape[1] // 8, picture.shape[0] - picture.shape[0] // 30)
    cv2.putText(captioned, "when you see it", place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return captioned


def sticker(picture: Pixels) -> Pixels:
    stuck = picture.copy()
    place = (picture.shape[1] * 3 // 5, picture.shape[0] * 2 // 5)
    cv2.circle(stuck, place, picture.shape[0] // 4, (250, 205, 50), -1, cv2.LINE_AA)
    cv2.circle(stuck, place, picture.shape[0] // 12, (0, 0, 0), -1, cv2.LINE_AA)
    return stuck


def cast(picture: Pixels) -> Pixels:
    return np.clip(picture * np.array([1.25, 0.95, 0.6]), 0, 255).astype(np.uint8)


EDITS: dict[str, tuple[Edit, str]] = {
    "exact": (lambda picture: picture, "recompressed"),
    "blur 1%": (blur(0.01), "blurred"),
    "blur 2.5%": (blur(0.025), "blurred"),
    "shift": (shift, "shifted"),
    "rotate 180": (lambda picture: picture[::-1, ::-1], "rotated 180"),
    "rotate 90": (np.rot90, "rotated 90 left"),
    "rotate 5": (turn(5), "rotated 5 left"),
    "mirror": (lambda picture: picture[:, ::-1], "flipped"),
    "upside down": (lambda picture: picture[::-1], "upside down"),
    "half": (half, "resized"),
    "jpeg 30": (jpeg(30), "recompressed"),
    "jpeg 10": (jpeg(10), "recompressed"),
    "crop 10%": (crop(0.1), "cropped"),
    "crop 20%": (crop(0.2), "cropped"),
    "brighter": (levels(1.25, 0), "brightness or contrast"),
    "contrast": (levels(1.3, -38), "brightness or contrast"),
    "grey": (grey, "grey"),
    "border": (border, "bordered"),
    "caption": (caption, "captioned"),
    "sticker": (sticker, "captioned"),
    "cast": (cast, "recoloured"),
    "much brighter": (levels(1.4, 0), "brightness or contrast"),
    "blur 5%": (blur(0.05), "blurred"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_photo_is_a_copy_and_the_edit_is_named(name: str) -> None:
    edit, word = EDITS[name]
    found = compare(photo(1), edit(photo(1)))
    assert found.score >= COPY
    assert found.edit == word


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("blur 2.5%", "blur 5%", "grey", "sticker")])
def test_an_edited_document_is_a_copy(name: str) -> None:
    assert compare(receipt(1), EDITS[name][0](receipt(1))).score >= COPY


@pytest.mark.parametrize("name", ["mirror", "crop 20%", "shift", "half", "blur 1%"])
def test_the_edited_picture_may_have_come_first(name: str) -> None:
    edit, _ = EDITS[name]
    assert compare(edit(photo(2)), photo(2)).score >= COPY


@pytest.mark.parametrize("edit", [crop(0.1), blur(0.01), jpeg(10), shift], ids=["crop", "blur", "jpeg", "shift"])
def test_strangers_are_no_copies(edit: Edit) -> None:
    for seed in range(10, 14):
        assert compare(photo(seed), edit(photo(seed + 20))).score < COPY / 2


@pytest.mark.parametrize(
    "edit",
    [lambda page: page, jpeg(10), half, crop(0.1), blur(0.01), blur(0.025), turn(5)],
    ids=["as it is", "jpeg", "half", "crop", "blur 1%", "blur 2.5%", "turned"],
)
def test_other_figures_on_the_same_form_are_no_copy(edit: Edit) -> None:
    for figures in (2, 3):
        assert compare(receipt(1), edit(receipt(figures))).score < COPY


def test_one_other_figure_on_a_page_is_no_copy() -> None:
    changed = receipt(1)
    changed[408:442] = receipt(2)[408:442]
    assert not np.array_equal(changed, receipt(1))
    assert compare(receipt(1), changed).score < COPY


@pytest.mark.parametrize("edit", [lambda page: page, jpeg(85)], ids=["as it is", "jpeg"])
def test_one_digit_on_a_full_page_makes_another_page(edit: Edit) -> None:
    def filled(amount: str) -> Pixels:
        page, rng = np.full((1000, 760, 3), 250, np.uint8), np.random.default_rng(1)
        for line in range(28):
            words = " ".join(str(number) for number in rng.integers(1000, 9999, 7))
            text = words if line < 27 else f"amount due {amount}"
            cv2.putText(page, text, (30, 40 + line * 34), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (25, 25, 25), 2, cv2.LINE_AA)
        return page

    assert compare(filled("1250.00"), edit(filled("1250.00"))).score >= COPY
    for other in ("1350.00", "8730.00"):
        assert compare(filled("1250.00"), edit(filled(other))).score < COPY


def test_forms_blurred_or_shrunk_beyond_reading_are_no_copies() -> None:
    for edit in (blur(0.01), lambda page: half(half(page))):
        assert compare(edit(receipt(1)), edit(receipt(2))).score < COPY


def test_two_receipts_on_one_desk_are_no_copies() -> None:
    def on_desk(page: Pixels) -> Pixels:
        desk = cv2.resize(photo(3), (1000, 1400))
        desk[200:1200, 190:810] = page
        return np.asarray(cv2.resize(desk, (731, 1024), interpolation=cv2.INTER_AREA), np.uint8)

    assert compare(on_desk(receipt(1)), on_desk(receipt(2))).score < COPY
    assert compare(on_desk(receipt(1)), jpeg(30)(on_desk(receipt(1)))).score >= COPY


def test_another_subject_before_the_same_background_is_no_copy() -> None:
    first, second = photo(4), photo(4)
    first[60:190, 90:230] = photo(5)[60:190, 90:230]
    second[60:190, 90:230] = photo(6)[60:190, 90:230]
    assert compare(first, second).score < COPY


def test_a_moment_later_something_has_moved_and_it_is_no_copy() -> None:
    before, after = photo(4), photo(4)
    thing = photo(9)[80:160, 100:190]
    before[80:160, 100:190] = thing
    after[84:164, 118:208] = thing
    assert compare(before, after).score < COPY
    assert compare(before, jpeg(10)(before)).score >= COPY


def test_a_plain_thing_that_moved_is_no_sticker() -> None:
    before, after = photo(4), photo(4)
    cv2.circle(before, (100, 100), 25, (20, 30, 200), -1)
    cv2.circle(after, (200, 150), 25, (20, 30, 200), -1)
    assert compare(before, after).score < COPY


def test_something_that_came_into_the_picture_is_no_sticker() -> None:
    before, after = photo(4), photo(4)
    cv2.ellipse(mask := np.zeros((240, 320), np.uint8), (170, 120), (34, 26), 0, 0, 360, 255, -1)
    after[mask > 0] = photo(12)[mask > 0]
    assert compare(before, after).score < COPY
    cv2.ellipse(stuck := photo(4), (170, 120), (34, 26), 0, 0, 360, (250, 200, 40), -1)
    assert compare(before, stuck).score >= COPY


def test_another_word_on_the_same_sign_is_another_sign() -> None:
    def sign(word: str) -> Pixels:
        picture = np.full((260, 420, 3), (30, 60, 150), np.uint8)
        cv2.rectangle(picture, (12, 12), (408, 248), (255, 255, 255), 5)
        cv2.putText(picture, word, (40, 160), cv2.FONT_HERSHEY_DUPLEX, 2.6, (255, 255, 255), 6, cv2.LINE_AA)
        return picture

    for one, other in (("NORTH", "SOUTH"), ("EXIT 30", "EXIT 48"), ("BERLIN", "LISBON")):
        assert compare(sign(one), sign(other)).score < COPY
        assert compare(sign(one), jpeg(50)(sign(one))).score >= COPY


@pytest.mark.parametrize(("one", "other"), [("LU 4111", "LU 4191"), ("12,49", "12,99"), ("30", "50")])
def test_another_number_in_the_same_scene_is_another_picture(one: str, other: str) -> None:
    def scene(number: str) -> Pixels:
        picture = photo(11, 960, 720)
        cv2.rectangle(picture, (390, 480), (570, 530), (250, 250, 245), -1)
        cv2.putText(picture, number, (400, 518), cv2.FONT_HERSHEY_DUPLEX, 1.1, (20, 20, 20), 2, cv2.LINE_AA)
        return picture

    assert compare(scene(one), jpeg(90)(scene(other))).score < COPY
    for edit in (jpeg(10), turn(5), crop(0.1), half, levels(1.25, 0), grey, caption, sticker):
        assert compare(scene(one), edit(scene(one))).score >= COPY


def test_a_retouched_spot_and_rounded_corners_leave_a_photo_a_copy() -> None:
    retouched, rounded = photo(11, 960, 720), photo(11, 960, 720)
    cv2.circle(retouched, (480, 360), 6, (10, 10, 10), -1)
    for x, y in ((0, 0), (0, 719), (959, 0), (959, 719)):
        cv2.circle(rounded, (x, y), 12, (255, 255, 255), -1)
    for edited in (retouched, rounded):
        assert compare(photo(11, 960, 720), jpeg(90)(edited)).score >= COPY


def test_a_piece_elsewhere_on_a_board_is_another_position() -> None:
    def board(column: int) -> Pixels:
        picture = photo(12, 800, 800)
        for row, file in np.ndindex(8, 8):
            corner = 80 + 80 * file, 80 + 80 * row
            shade = (235, 215, 180) if (row + file) % 2 else (120, 80, 50)
            cv2.rectangle(picture, corner, (corner[0] + 79, corner[1] + 79), shade, -1)
        for row, file in ((0, 1), (0, 3), (2, 5), (5, 0), (7, 2), (7, 6), (4, column)):
            cv2.circle(picture, (120 + 80 * file, 120 + 80 * row), 28, (30, 30, 30), -1, cv2.LINE_AA)
        return picture

    assert compare(board(1), jpeg(90)(board(3))).score < COPY
    assert compare(board(1), jpeg(30)(board(1))).score >= COPY


def test_a_logo_too_small_for_a_first_look_leaves_it_a_copy() -> None:
    marked = photo(13, 900, 340)
    cv2.rectangle(marked, (820, 305), (890, 335), (255, 255, 255), -1)
    cv2.putText(marked, "tw", (838, 327), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (200, 30, 40), 2, cv2.LINE_AA)
    assert compare(photo(13, 900, 340), jpeg(90)(marked)).score >= COPY


def test_a_small_part_in_another_colour_is_another_thing() -> None:
    def with_bag(colour: tuple[int, int, int]) -> Pixels:
        picture = photo(8)
        cv2.rectangle(picture, (120, 90), (175, 150), colour, -1)
        for line in range(95, 150, 9):  # of one pattern, so that the shape says nothing
            cv2.line(picture, (122, line), (173, line + 3), tuple(level // 2 for level in colour), 2)
        return picture

    assert compare(with_bag((200, 40, 40)), with_bag((40, 60, 200))).score < COPY
    assert compare(with_bag((200, 40, 40)), jpeg(10)(with_bag((200, 40, 40)))).score >= COPY
    for edit in (levels(1.25, 0), levels(0.5, 0), grey):
        assert compare(with_bag((200, 40, 40)), edit(with_bag((200, 40, 40)))).score >= COPY


def plain(width: int = 360, height: int = 300) -> Pixels:
    """A thing without features on an uneven ground: a shirt laid on the floor."""
    across = np.linspace(190, 225, width, dtype=np.float32)[None, :] + np.linspace(0, 18, height)[:, None]
    picture = np.repeat(across[:, :, None], 3, axis=2).astype(np.uint8)
    shirt = np.array([[120, 60], [235, 60], [310, 120], [275, 150], [245, 125], [245, 260], [115, 260], [60, 150]])
    cv2.fillPoly(picture, [shirt.astype(np.int32)], (40, 80, 190), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), np.uint8)


@pytest.mark.parametrize("edit", [crop(0.2), crop(0.35), shift, turn(5)], ids=["crop", "deep crop", "shift", "turn"])
def test_a_plain_thing_is_found_by_its_shape(edit: Edit) -> None:
    assert compare(plain(), edit(plain())).score >= COPY


def test_a_long_strip_is_compared_at_enough_pixels() -> None:
    strip = photo(14, 480, 140)
    for edit in (blur(0.01), blur(0.025), half, crop(0.2)):
        assert compare(strip, edit(strip)).score >= COPY
        assert compare(photo(15, 480, 140), edit(strip)).score < COPY


def test_a_drawing_is_no_page_and_may_be_blurred() -> None:
    drawing, rng = np.full((300, 300, 3), 255, np.uint8), np.random.default_rng(3)
    for _ in range(14):
        ends = rng.integers(20, 280, (4, 2)).astype(np.int32)
        cv2.polylines(drawing, [ends[:, None]], False, (0, 0, 0), 2, cv2.LINE_AA)
    assert compare(drawing, blur(0.006)(drawing)).score >= COPY


def test_a_drawing_in_black_and_white_may_be_brightened() -> None:
    drawing, rng = np.full((300, 300, 3), 255, np.uint8), np.random.default_rng(4)
    for start, end in rng.integers(0, 300, (60, 2, 2)):
        third = start + (end - start) // 3
        cv2.line(drawing, start.tolist(), third.tolist(), (0, 0, 0), 1, cv2.LINE_AA)
    brighter = np.clip(drawing * 1.8, 0, 255).astype(np.uint8)
    assert compare(drawing, brighter).score >= COPY


def test_a_logo_on_a_photo_leaves_it_a_copy() -> None:
    marked = photo(7)
    cv2.rectangle(marked, (250, 10), (310, 50), (255, 255, 255), -1)
    cv2.putText(marked, "LOGO", (254, 38), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (200, 0, 0), 2)
    assert compare(photo(7), marked).score >= COPY


def captioned(picture: Pixels, text: str, depth: int) -> Pixels:
    marked = picture.copy()
    marked[-depth:] = 0
    place = 90, marked.shape[0] - depth // 3
    cv2.putText(marked, text, place, cv2.FONT_HERSHEY_SIMPLEX, depth / 48, (255, 255, 255), 1, cv2.LINE_AA)
    return marked


@pytest.mark.parametrize("turns", range(4))
def test_a_caption_hides_little_of_a_wide_photo_that_is_dark_below(turns: int) -> None:
    wide = photo(5, 400, 150)
    wide[105:] //= 8
    copy = compare(np.rot90(wide, turns), np.rot90(captioned(wide, "when you see it", depth=18), turns))
    assert copy.score >= COPY
    assert copy.edit == "captioned"


def test_another_line_in_the_same_place_is_another_picture() -> None:
    one, other = (captioned(photo(5), text, depth=40) for text in ("SEA 12 KM", "MOUNTAINS"))
    assert compare(one, jpeg(60)(one)).score >= COPY
    assert compare(one, other).score < COPY


def test_a_plate_is_known_by_its_ink_where_white_is_everywhere() -> None:
    before = photo(9)
    cv2.rectangle(before, (0, 0), (90, 60), (255, 255, 255), -1)
    cv2.rectangle(before, (20, 150), (100, 200), (255, 255, 255), -1)
    plate = before.copy()
    cv2.rectangle(plate, (240, 190), (290, 215), (255, 255, 255), -1)
    bare = plate.copy()
    cv2.putText(plate, "tw", (255, 207), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (200, 30, 40), 1, cv2.LINE_AA)
    assert compare(before, jpeg(90)(plate)).score >= COPY
    assert compare(before, bare).score < COPY


def test_the_same_thing_in_another_colour_is_no_copy() -> None:
    def dressed(hue: int) -> Pixels:
        hsv = cv2.cvtColor(grey(photo(8)), cv2.COLOR_RGB2HSV)
        hsv[50:200, 80:240, 0], hsv[50:200, 80:240, 1] = hue, 180
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)

    assert compare(dressed(5), dressed(110)).score < COPY
    assert compare(dressed(5), levels(1.2, 0)(dressed(5))).score >= COPY
    assert compare(dressed(5), grey(dressed(5))).score >= COPY


SHAPES = [(1, 1), (1, 300), (300, 1), (2, 2), (7, 5), (15, 16), (17, 1024), (1024, 3), (64, 64), (500, 20)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_shape_and_no_content_raises(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    blank, black = np.full((*shape, 3), 255, np.uint8), np.zeros((*shape, 3), np.uint8)
    lone = black.copy()
    lone[shape[0] // 2, shape[1] // 2] = 255
    for other in (noise, blank, black, lone, photo(9), receipt(1)):
        for first, second in ((noise, other), (other, noise), (lone, other), (other, lone), (blank, other)):
            assert 0 <= compare(first, second).score <= 1
    assert compare(blank, blank).score == 0
    assert compare(noise, photo(9)).score < COPY


def test_a_view_with_strides_of_its_own_is_read_as_it_looks() -> None:
    assert compare(photo(1), photo(1)[:, ::-1][:, ::-1]) == compare(photo(1), photo(1))


def test_the_answer_does_not_depend_on_what_was_asked_before() -> None:
    cv2.setRNGSeed(1)
    first = compare(photo(1), turn(5)(photo(1))), compare(photo(10), photo(11))
    cv2.setRNGSeed(2)
    compare(receipt(1), receipt(2))
    assert (compare(photo(1), turn(5)(photo(1))), compare(photo(10), photo(11))) == first


def test_the_pictures_are_not_written_to() -> None:
    original, copy = photo(1), turn(5)(photo(1))
    before = original.copy(), copy.copy()
    original.flags.writeable = copy.flags.writeable = False
    compare(original, copy)
    assert np.array_equal(original, before[0])
    assert np.array_equal(copy, before[1])


def test_a_picture_compared_before_is_decoded_again_only_where_need_be() -> None:
    decoded: list[int] = []

    def decode(seed: int) -> Pixels:
        decoded.append(seed)
        return photo(seed)

    cache = ViewCache(max_views=2)
    original = cache.get("1", partial(decode, 1))
    mirrored, blank = View.of(np.fliplr(photo(1))), View.of(np.full((240, 320, 3), 128, np.uint8))
    first = compare(original, mirrored)
    assert first.score > COPY
    for other, expected, times in ((blank, 0.0, 0), (mirrored, first.score, 1)):
        original.release()
        decoded.clear()
        original = cache.get("1", partial(decode, 1))
        assert compare(original, other).score == expected
        assert len(decoded) == times
    for seed in (2, 3, 1):  # for the third the first had to go
        decoded.clear()
        cache.get(str(seed), partial(decode, seed))
        assert decoded == [seed]


def test_a_picture_begun_beside_is_decoded_once_or_alone_where_that_failed() -> None:
    decoded: list[str] = []

    def decode(name: str, fails: bool = False) -> Pixels:
        time.sleep(0.05)
        decoded.append(name)
        if fails:
            raise UnreadableError("no memory")
        return photo(1)

    cache = ViewCache()
    cache.prefetch("1", partial(decode, "beside"))
    assert np.array_equal(cache.get("1", partial(decode, "again")).pixels, photo(1))
    cache.prefetch("2", partial(decode, "in vain", fails=True))
    assert np.array_equal(cache.get("2", partial(decode, "alone")).pixels, photo(1))
    cache.prefetch("3", partial(decode, "not asked for"))
    cache.get("4", partial(decode, "another"))
    assert decoded == ["beside", "in vain", "alone", "not asked for", "another"]
