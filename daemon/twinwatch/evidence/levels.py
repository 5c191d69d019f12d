"""Every number that decides whether two pictures show the same, in frozen dataclasses with their defaults.

Values whose comment gives figures for copies or for other pictures were measured on the development set: photos of
objects, photos of products and scanned documents, with all edits of `twinwatch.calibration`, against the pictures most
similar to them. The other values are choices. Calibration measures the error rates of all of them together.

Grey and colour levels run from 0 to 255, correlations from -1 to 1, shares from 0 to 1. "Windows" are the overlapping
blocks in which pictures are correlated. Lengths in `_px` are pixels of the reduced picture that is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

COPY_SCORE = 0.6
"""The fixed point of the scale of scores: from here on a finding speaks for a copy. A convention, not a measurement."""

EVIDENCE_SIDE = 1024
"""Pixels of the longer side. Decode both pictures with `decode_fit(data, EVIDENCE_SIDE, ...)`."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How finely two pictures are compared: at `side_px`, in windows of two by two cells."""

    side_px: int
    cell_px: int
    max_shift_px: int  # how far a window may lie from where the alignment puts it
    min_deviation: float  # standard deviation in grey levels from which a window shows something
    smooth_px: float = 0.0  # sigma of a blur of both pictures
    widen_strips: bool = False  # as for `resize.reduction`
    ignore_bars: bool = False  # leave out a bar along an edge of one picture that hides a part of the other
    max_blurs: int = 4  # how many blurs to try for one sharpness; beyond the first few a smaller side shows as much
    min_correlation: float = 0.9  # of a photo: from here on a window agrees


@dataclass(frozen=True, slots=True)
class FeatureLevels:
    """Finding and matching SIFT features (Lowe 2004)."""

    max_count: int = 500
    octave_layers: int = 2
    min_contrast: float = 0.02
    # Lowe 2004, section 7.1: drops nine in ten wrong matches and one in twenty right ones.
    max_distance_ratio: float = 0.8


@dataclass(frozen=True, slots=True)
class AlignmentLevels:
    """Which alignments of two pictures are proposed, and which are plausible."""

    # A recompressed, blurred or captioned copy has thumbnails that correlate above 0.7 in its true orientation.
    min_thumb_correlation: float = 0.5
    max_orientations: int = 2  # symmetric things look alike in several; beyond two the features decide
    min_inliers: int = 8  # an affine map fits any three matches; five more that agree by chance are rare
    min_coarse_inliers: int = 5  # different pictures have 4 at most
    sufficient_coarse_inliers: int = 20  # so many align a copy well enough to be corrected from there
    inlier_distance_px: float = 3.0
    ransac_iterations: int = 2000
    ransac_confidence: float = 0.995
    max_plain_features: int = 60  # a picture with more would have been aligned by those that match
    max_whole_aspect_change: float = 2.0  # a whole picture pressed into another shape, such as 4:3 into 9:16
    scale_range: tuple[float, float] = (0.3, 3.0)  # edits beyond this keep under a tenth of the picture
    max_stretch: float = 1.5  # ratio of the two singular values: shear and one-sided stretch
    min_overlaps: tuple[float, float] = (0.1, 0.5)  # shares of the two pictures; of the less covered, of the more
    same_distance: float = 0.01  # share of the longest side within which two alignments are one


@dataclass(frozen=True, slots=True)
class ShapeLevels:
    """Aligning plain things, which have too few features, by template matching."""

    search_side_px: int = 64
    refine_side_px: int = 128
    source_side_px: int = 256  # each size is made from this one; from the full picture it would take most of the time
    margin_share: float = 0.2  # of each side of the copy, which may lie outside the original
    min_template_px: int = 10
    scales: tuple[float, ...] = tuple(0.36 * 1.08**step for step in range(20))  # copy against original: to 1.55
    min_correlation: float = 0.85
    # Enhanced correlation coefficient (Evangelidis and Psarakis 2008).
    ecc_iterations: int = 40
    ecc_min_change: float = 1e-4
    ecc_blur_px: int = 5


@dataclass(frozen=True, slots=True)
class WindowLevels:
    """Correlating the windows of two aligned pictures."""

    min_coverage: float = 0.995  # share of a window that the copy must cover
    edge_tolerance_px: float = 1e-3  # by which rounding moves the edge of a rotated picture
    min_shift_gain: float = 1e-3  # correlation by which a larger shift must be better
    min_windows: int = 12  # a fit to fewer, or their median, says nothing
    min_shift_correlation: float = 0.6  # from here on the shift of a window is believed
    shift_inlier_px: float = 1.0
    min_tone_correlation: float = 0.9  # from here on the levels of a window are believed
    max_unclipped_level: float = 122.0  # distance from the middle; levels beyond may be clipped
    max_clipped_share: float = 0.01  # of the pixels
    crisp_quantile: float = 0.85  # of windows, says what a picture resolves: text on a soft ground is a minority
    max_sharpness_ratio: float = 1.1  # up to here two pictures are equally sharp
    blur_sigmas_px: tuple[float, ...] = (0.5, 0.8, 1.2, 1.7, 2.4, 3.4, 4.8)
    # A bar was laid over one picture where so large a share of the bar differs from the other by so many levels.
    bar_min_change: float = 24.0
    written_bar_min_share: float = 0.02
    bare_bar_min_share: float = 0.5
    bar_bleed_px: int = 2  # the edge of a bar may mix with what lies below it


@dataclass(frozen=True, slots=True)
class TextLevels:
    """Is a picture a page: letters on one even ground and little else? Drawings and photos are none."""

    max_line_height: float = 0.06  # of the longest side; lines of text are lower, most parts of a drawing are not
    min_speck_px: int = 6  # area
    ground_band: int = 31  # grey levels around the commonest one that count as ground
    min_ground: float = 0.6  # receipts have 0.63 to 0.98
    # At 256 pixels. Lines of text make up 0.46 and more of all strokes seen there, those of drawings at most 0.2.
    coarse_stroke_px: int = 15
    coarse_step: int = 20
    min_coarse_low: float = 0.3
    min_coarse_strokes: float = 0.025
    max_coarse_solid: float = 0.05
    # At full size. Receipts have strokes of 0.02 to 0.16 and little else; photos fail on each.
    min_fine_side_px: int = 400
    max_coarse_solid_for_fine: float = 0.12
    fine_strokes_a_side: int = 70
    fine_step: int = 40
    min_fine_low: float = 0.5
    min_fine_strokes: float = 0.015
    max_fine_solid: float = 0.08


@dataclass(frozen=True, slots=True)
class PrintLevels:
    """How much of a photo is printed paper."""

    min_side_px: int = 600  # from here on what is printed in a photo can be read
    side_px: int = 512
    cell_px: int = 16
    strokes_a_side: int = 64
    min_step: int = 40  # grey levels between ink and paper
    max_paper_variance: float = 100.0
    ink_range: tuple[float, float] = (0.04, 0.6)  # share of a cell


@dataclass(frozen=True, slots=True)
class BarLevels:
    """Bars of one colour along an edge: captions, frames."""

    max_stray: float = 20.0  # levels that a pixel of the bar may stray; JPEG at quality 10 stays within
    depth_range: tuple[float, float] = (0.03, 0.25)  # of the side that the bar takes from
    # Shares of a row in the colour of the bar: with text, without, and where the bar has ended.
    min_written_row: float = 0.35
    min_bare_row: float = 0.9
    max_row_beyond: float = 0.7
    min_bare_bar: float = 0.97  # of the whole bar; with less, something is written on it


_PHOTO_GRID = Grid(
    256, cell_px=8, max_shift_px=1, min_deviation=6.0, smooth_px=1.0, widen_strips=True, ignore_bars=True
)


@dataclass(frozen=True, slots=True)
class PhotoLevels:
    """Does an aligned photo agree?"""

    # Where features tell most different pictures, and where they align a copy: at 208 deep crops are lost.
    feature_sides_px: tuple[int, int] = (160, 256)
    # A blurred picture is compared at the finest grid that both resolve. A blur of 1 pixel takes off the blocks of
    # JPEG, which hide agreement, and no shape by which pictures differ. Blur takes away noise and detail alike, so a
    # blurred copy agrees more closely, and a blurred different picture too: at 64, of the nearest ones blurred by
    # 2.5% of the width, up to all of the texture correlates over 0.9 and 0.80 of it over 0.99.
    grids: tuple[Grid, ...] = (
        _PHOTO_GRID,
        replace(_PHOTO_GRID, side_px=128, min_correlation=0.97),
        replace(_PHOTO_GRID, side_px=64, min_correlation=0.99),
        replace(_PHOTO_GRID, side_px=64, min_correlation=0.99, max_blurs=7),
    )
    min_windows: int = 12  # with fewer textured windows, agreement can be chance
    # Shares of agreeing texture between which an alignment is worth correcting.
    min_correctable_share: float = 0.2
    sufficient_share: float = 0.95
    max_corrections: int = 2
    min_share: float = 0.4  # below it, not even what was laid over would explain the rest
    # Of edited photos 0.91 of the texture and more agrees (JPEG at quality 10 least), mostly over 0.95; of different
    # ones at most 0.80 (one motorcycle in two colours), and 0.85 where one is blurred (one face in two rooms).
    copy_share: float = 0.92
    max_hidden_area: float = 0.5  # of the picture, under what was laid over it or beside that
    max_hidden_texture: float = 0.7  # of the windows that show anything: the rest has to speak for a copy
    # Where blur left little else, colours have to fit: copies miss by 0.02 to 0.08, the nearest others by 0.14.
    min_blurred_share: float = 0.5
    max_colour_misfit: float = 0.1
    misfit_edge_sigmas: float = 1.5  # an editor's blur took something from beyond the edge
    misfit_min_coverage: float = 0.5  # share of a pixel that the copy covers
    misfit_blur_factors: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.4)  # the blur is known no closer


_EXACT_GRID = Grid(EVIDENCE_SIDE, cell_px=10, max_shift_px=1, min_deviation=10.0)


@dataclass(frozen=True, slots=True)
class DifferenceLimit:
    """Below `min_correlation` a window of text differs; a share `max_share` of those is just a copy's."""

    min_correlation: float
    max_share: float


@dataclass(frozen=True, slots=True)
class PageLevels:
    """Does an aligned page agree? Strictly: two receipts of one shop differ in their figures only."""

    feature_sides_px: tuple[int, int] = (320, 640)  # letters need more pixels than shapes
    coarse_grid: Grid = Grid(256, cell_px=8, max_shift_px=2, min_deviation=6.0)
    # Each grid corrects the alignment for the next.
    grids: tuple[Grid, ...] = (
        Grid(512, cell_px=10, max_shift_px=2, min_deviation=10.0),
        replace(_EXACT_GRID, max_shift_px=2),
        _EXACT_GRID,
    )
    small_grid: Grid = Grid(EVIDENCE_SIDE, cell_px=10, max_shift_px=1, min_deviation=10.0, smooth_px=0.8)
    blurred_grid: Grid = Grid(512, cell_px=6, max_shift_px=1, min_deviation=8.0, max_blurs=7)
    min_windows: int = 12  # with fewer windows of text, agreement can be chance
    # Share of windows that correlate so well coarsely, from which an alignment is worth a closer look.
    min_coarse_share: float = 0.2
    min_coarse_correlation: float = 0.6
    min_readable_px: int = 600  # pixels of the longer side from which a page can be read
    # Gradient for each grey level: sharp or half-size text has 1.15 and more, blurred by 1% of the width 0.5.
    min_crispness: float = 0.8
    min_blurred_crispness: float = 0.45
    # Edited receipts have no window below 0.6, the nearest other receipts 2.5%. The limit is one line of a full page.
    readable: DifferenceLimit = DifferenceLimit(0.6, 0.0025)
    # On a small page words still have lengths. Other receipts have 2.5% and more at 256 pixels.
    small: DifferenceLimit = DifferenceLimit(0.9, 0.008)
    # Letters lost to blur: copies have at most 0.34% of windows below 0.95, the nearest other pages 6%.
    blurred: DifferenceLimit = DifferenceLimit(0.95, 0.006)
    # One other figure is three windows or more, side by side, that correlate so much less than 99 in 100 others.
    # Copies have at most two, but for one in twenty at JPEG quality 10; with an upper bound of 0.95 a tenth of those
    # rotated by 5 degrees would be lost.
    figure_quantile: float = 0.01
    figure_drop: float = 0.08
    figure_correlation_range: tuple[float, float] = (0.7, 0.92)
    min_figure_windows: int = 3
    min_bar_step: float = 60  # grey levels between paper and a caption bar drawn on it
    bar_parts: int = 5  # a bar may hide one edge strip, up to one part in so many


@dataclass(frozen=True, slots=True)
class DetailLevels:
    """Does an aligned photo agree at full size too: a number on a plate, a price below a product?

    One in 1,000 edited copies has so many windows side by side that correlate so much less than 95 in 100 others and
    are left so many levels apart whatever their contrast (of those at JPEG quality 10 one in 100, and one in ten
    without the second condition); nearly all photos with another number somewhere have.
    """

    grid: Grid = _EXACT_GRID
    usual_quantile: float = 0.05
    min_drop: float = 0.1
    max_correlation: float = 0.8
    min_residual: float = 30.0  # grey levels
    min_windows: int = 3
    edge_windows: int = 2  # rounded corners, and arcs of what an undistorted picture no longer shows
    # Share of the deviation of the other picture, and of the windows, that makes a picture flat where they differ.
    max_flat_deviation: float = 0.6
    min_flat_share: float = 0.9
    min_printed_share: float = 0.05  # of a photo, from which it counts as print
    max_printed_difference: float = 0.008  # share of the windows of print
    max_blur_px: float = 0.8  # beyond, details cannot be compared
    max_coarse_blur_px: float = 0.5  # the same at the size at which the photo was compared before, a quarter or less
    sufficient_score: float = 0.95  # no closer look is taken
    hidden_bleed_windows: int = 5  # what is hidden is known at a quarter of this size


@dataclass(frozen=True, slots=True)
class ColourRuleLevels:
    """One rule that takes the colours of one picture to those of the other, as an editor would apply it."""

    min_pixels: int = 30
    fit_rounds: int = 3  # of leaving out the worst
    max_residual_ratio: float = 3.0  # what misses by more times the mean is left out,
    min_outlier_residual: float = 2.0  # if it misses by more levels than this
    max_better_share: float = 0.8  # of what the likelier rule leaves over, below which a less likely one is believed
    sufficient_quantile: float = 0.98  # a rule that misses so many pixels
    sufficient_residual: float = 8.0  # by no more levels needs no better
    max_counted_residual: float = 20.0  # levels; a pixel that misses by more says no more
    saturations: tuple[float, ...] = (1.0, 0.0, 0.5, 0.75, 1.3)
    gammas: tuple[float, ...] = (0.5, 0.7, 1.4, 2.0)
    gamma_saturations: tuple[float, ...] = (1.0, 0.0)
    # Gain of one channel, and of one against another: with colours as they are, and with the saturation changed.
    gain_range: tuple[float, float] = (0.3, 2.5)
    max_gain_ratio: float = 2.4
    max_gain_ratio_desaturated: float = 1.25


@dataclass(frozen=True, slots=True)
class ColourLevels:
    """Is it the same thing in other colours?"""

    rule: ColourRuleLevels = field(default_factory=ColourRuleLevels)
    min_correlation: float = 0.9  # from here on the colour of a window is believed
    min_windows: int = 12
    clip_margin: float = 4.0  # levels from black or white that may have been clipped
    max_samples: int = 400  # pixels of each sort, about
    smooth_px: float = 1.5
    # Levels by which three windows, side by side, may not miss; JPEG keeps grey more closely than colour.
    max_luma_residual: float = 14.0
    max_channel_residual: float = 30.0
    min_different_windows: int = 3
    max_grey_chroma: float = 5.0  # mean below which a picture is grey; JPEG leaves 1 to 3
    min_colour_chroma: float = 10.0  # mean from which the original of a grey copy was in colour
    min_cast_ratio: float = 1.15  # gain of one channel against another


@dataclass(frozen=True, slots=True)
class OverlaidLevels:
    """What was laid over a picture: a caption, a logo, a sticker, a number."""

    # No window of an edited photo, whatever the edit, differs this much unless something was laid over it.
    max_correlation: float = 0.5
    min_deviation: float = 10.0  # grey levels
    min_windows: int = 2  # fewer, side by side, may be chance
    min_change: float = 24.0  # levels of any colour
    min_pixels: int = 16
    max_colours: int = 3
    min_colour_distance: float = 48.0  # levels
    colour_cube: int = 16  # levels: side of the cubes in which colours are counted
    max_stray: float = 8.0  # levels within which a pixel has a colour
    # Shares of the changed pixels that must have these colours, and that must have them or touch them: stickers,
    # captions and logos have 0.85 and 0.98 and more; pieces of other photos at most 0.70 and 0.91, or 0.86 and 0.98
    # where those show plain cloth.
    min_flat_share: float = 0.7
    min_flat_or_edge_share: float = 0.95
    # Share and number of the changed pixels from which a colour counts as one of the addition.
    min_own_share: float = 0.02
    min_own_pixels: int = 8
    max_mix_residual: float = 20.0  # levels that a mix of two colours may lie off the line between them
    # A bar: depth as a share of its side; share of it, and of what lies next to it, in its colours.
    max_bar_depth: float = 0.25
    min_bar_share: float = 0.9
    max_share_beyond_bar: float = 0.7
    # A plate: share of its rectangle, of the plate that changed, and of the change beneath it.
    min_plate_fill: float = 0.85
    min_plate_changed: float = 0.5
    min_plate_cover: float = 0.97
    min_plate_ink_pixels: int = 4
    # Ink: share of the changed pixels that are bare ground in the one picture, and of those that are ink in the other.
    min_ink_share: float = 0.85
    full_ink_quantile: float = 0.9
    max_ink_stray: float = 0.35  # share of its strength by which ink may miss its colour
    max_half_stroke_px: float = 3.5


@dataclass(frozen=True, slots=True)
class EditNameLevels:
    """Which word names an edit. These decide nothing but the word."""

    min_angle: float = 1.0  # degrees
    min_whole_share: float = 0.97
    same_size_range: tuple[float, float] = (0.95, 1.05)
    same_sharpness_range: tuple[float, float] = (0.75, 1.33)
    unblurred_side_px: int = 256  # a photo that had to be compared at fewer pixels is blurred
    same_gain_range: tuple[float, float] = (0.9, 1.12)
    min_brightness_change: float = 8.0  # levels
    same_chroma_range: tuple[float, float] = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Levels:
    """All levels by which `compare` compares, one dataclass for each part of it."""

    # Below it a plane is noise, and its correlation with another plane says nothing. Standard deviation of grey levels.
    min_deviation: float = 2.0
    sufficient_score: float = 0.9  # no further alignment is tried
    max_blurred_sharpness: float = 0.75  # share of the sharpness of the other below which a picture is the blurred one
    features: FeatureLevels = field(default_factory=FeatureLevels)
    alignment: AlignmentLevels = field(default_factory=AlignmentLevels)
    shape: ShapeLevels = field(default_factory=ShapeLevels)
    windows: WindowLevels = field(default_factory=WindowLevels)
    text: TextLevels = field(default_factory=TextLevels)
    print: PrintLevels = field(default_factory=PrintLevels)
    bars: BarLevels = field(default_factory=BarLevels)
    photo: PhotoLevels = field(default_factory=PhotoLevels)
    page: PageLevels = field(default_factory=PageLevels)
    detail: DetailLevels = field(default_factory=DetailLevels)
    colours: ColourLevels = field(default_factory=ColourLevels)
    overlaid: OverlaidLevels = field(default_factory=OverlaidLevels)
    edit_name: EditNameLevels = field(default_factory=EditNameLevels)


DEFAULT = Levels()
"""The levels that the daemon uses."""
