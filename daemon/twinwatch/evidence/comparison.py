"""Evidence: do the pixels of two pictures show the same? Pure: no files, no clock, the same answer every time.

`registration` proposes alignments, `photo` or `page` compares the pictures at each, `detail` looks closer, and
`colours` tells a copy from the same thing in another colour. Nothing here decides what happens to a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinwatch.evidence.arrays import Pixels
from twinwatch.evidence.colours import compare_colours
from twinwatch.evidence.detail import detail_score
from twinwatch.evidence.edit_name import edit_name
from twinwatch.evidence.levels import COPY_SCORE, DEFAULT, Levels
from twinwatch.evidence.page import compare_page
from twinwatch.evidence.photo import compare_photo
from twinwatch.evidence.registration import alignments
from twinwatch.evidence.transforms import Alignment
from twinwatch.evidence.view import Pair, View


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well the pixels of two pictures agree, and how the copy was edited.

    `score` is in 0..1, a copy from 0.6 on. `edit` has one to three words, and is empty below that.
    """

    score: float
    edit: str


def compare(original: View | Pixels, copy: View | Pixels, levels: Levels = DEFAULT) -> Evidence:
    """Return how surely `copy` shows the pixels of `original`, by the given levels.

    Both are RGB [H, W, 3], from `decode_fit(..., EVIDENCE_SIDE)`. A View keeps its measurements for the next
    comparison. The two pictures may be exchanged, which changes the name of the edit only. Pictures of any size are
    accepted; those that cannot be compared score 0.
    """
    best = Evidence(0.0, "")
    pair = Pair(_view(original), _view(copy), levels)
    if min(pair.original.deviation, pair.copy.deviation) < levels.min_deviation:
        return best
    text = _is_page(pair)
    for alignment in alignments(pair, *(levels.page if text else levels.photo).feature_sides_px):
        evidence = _compare_page(alignment, pair) if text else _compare_photo(alignment, pair)
        if evidence.score > best.score:
            best = evidence
        if best.score >= levels.sufficient_score:
            break
    return best


def _compare_page(alignment: Alignment, pair: Pair) -> Evidence:
    finding = compare_page(alignment, pair)
    if finding.score < COPY_SCORE:
        return Evidence(finding.score, "")
    # Colours name the edit only: the same words and figures on other paper are the same page.
    return Evidence(finding.score, edit_name(finding, compare_colours(finding, pair), pair))


def _compare_photo(alignment: Alignment, pair: Pair) -> Evidence:
    finding = compare_photo(alignment, pair)
    score = finding.score
    if score >= COPY_SCORE:
        score = min(score, detail_score(finding, pair))
    if score < COPY_SCORE:
        return Evidence(score, "")
    colours = compare_colours(finding, pair)
    if colours.different:
        return Evidence(COPY_SCORE / 2, "")
    return Evidence(score, edit_name(finding, colours, pair))


def _is_page(pair: Pair) -> bool:
    """Whether to compare text. Blur makes a drawing's lines look like lines of text, so the sharper picture decides."""
    blurred, sharper = sorted((pair.original, pair.copy), key=lambda view: view.sharpness)
    clear = blurred.sharpness < pair.levels.max_blurred_sharpness * sharper.sharpness
    levels = pair.levels.text
    return sharper.is_page(levels) or (blurred.is_page(levels) and not clear)


def _view(given: View | Pixels) -> View:
    return given if isinstance(given, View) else View.of(given)
