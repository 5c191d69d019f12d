"""Evidence: do the pixels of two pictures line up? Pure: no files, no clock, the same answer every time.

`evidence.align` proposes how the copy may lie on the original, `photo` or `page` compares the two there, and `colours`
tells a copy from the same thing in another colour. Nothing here decides what happens to a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.evidence import page, photo
from twinwatch.evidence.colours import colours
from twinwatch.evidence.detail import detail_score
from twinwatch.evidence.edit_name import edit_of
from twinwatch.evidence.registration import placements
from twinwatch.evidence.view import Pixels, View
from twinwatch.evidence.windows import COPY, Pair

EVIDENCE_SIDE = page.SIDE
"""Decode both pictures with `decode_fit(data, EVIDENCE_SIDE, ...)`."""

_SURE = 0.9  # no further placement is tried from here on
_BLANK_DEVIATION = 2.0  # as decode.BLANK_DEVIATION: such pictures are copies only by equal bytes
_BLURRED = 0.75  # share of the other's sharpness below which a picture counts as the blurred one


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well the pixels line up, 0..1 (a copy from 0.6 on), and what was done to the copy, in a word or three."""

    score: float
    edit: str


def compare(original: View | Pixels, copy: View | Pixels) -> Evidence:
    """Say how surely `copy` shows the pixels of `original`, both RGB [H, W, 3] from `decode_fit(..., EVIDENCE_SIDE)`.

    A View that is compared several times is looked at once. Symmetric in what it accepts, not in what it calls the
    edit. Any shape is answered; what cannot be judged scores 0.
    """
    best = Evidence(0.0, "")
    pair = Pair(_view(original), _view(copy))
    if min(pair.original.deviation, pair.copy.deviation) < _BLANK_DEVIATION:
        return best
    text = _on_a_page(pair)
    for placement in placements(pair.original, pair.copy, *(page.FEATURE_SIDES if text else photo.FEATURE_SIDES)):
        finding = page.judge_page(placement, pair) if text else photo.judge_photo(placement, pair)
        score, edit = finding.score, ""
        if score >= COPY and not text:
            score = min(score, detail_score(finding, pair))
        if score >= COPY:
            seen = colours(finding, pair)
            other = seen.other and not text  # the same words and figures on other paper are the same page
            score, edit = (COPY / 2, "") if other else (score, edit_of(finding, seen, pair))
        if score > best.score:
            best = Evidence(score, edit)
        if best.score >= _SURE:
            break
    return best


def _on_a_page(pair: Pair) -> bool:
    """Whether to compare text. Blur makes a drawing's lines look like lines of text, so the sharper picture decides."""
    blurred, sharper = sorted((pair.original, pair.copy), key=lambda view: view.sharpness)
    clear = blurred.sharpness < _BLURRED * sharper.sharpness
    return sharper.text_like or (blurred.text_like and not clear)


def _view(given: View | Pixels) -> View:
    return given if isinstance(given, View) else View.of(given)
