"""A decoded picture and what was measured on it, kept for the next comparison: one picture is compared with many.

The measurements are small, so a view keeps them when it releases its pixels. Most different pictures can be told apart
by them alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from twinwatch.evidence.arrays import Floats, Pixels
from twinwatch.evidence.bars import Bar, find_bars
from twinwatch.evidence.features import Features, find_features
from twinwatch.evidence.levels import BarLevels, FeatureLevels, Levels, PrintLevels, TextLevels
from twinwatch.evidence.resize import reduced, reduced_size, reduction
from twinwatch.evidence.text import is_page, printed_share

THUMB_SIDE = 32
"""Pixels of a side of `View.thumb`: enough to tell the eight orientations apart, few enough to survive any blur."""
_SMALL_SIDE = 256  # pixels at which sharpness, text and bars are measured
_MAX_KEPT_BYTES = 1 << 16  # 256 by 256 pixels in grey


class View:
    """An RGB picture [H, W, 3] to compare, which is never written to. It measures whatever is asked for, once.

    `size` is (width, height). The constructor and `pixels` raise what `decode` raises.
    """

    def __init__(self, decode: Callable[[], Pixels]) -> None:
        self._decode: Callable[[], Pixels] | None = decode
        self._pixels: Pixels | None = decode()
        self.size = self._pixels.shape[1], self._pixels.shape[0]
        self._reduced: dict[tuple[tuple[int, int], bool], Pixels] = {}
        self._features: dict[tuple[int, FeatureLevels], Features] = {}
        self._is_page: dict[TextLevels, bool] = {}
        self._printed: dict[PrintLevels, float] = {}
        self._bars: dict[BarLevels, tuple[Bar, ...]] = {}

    @classmethod
    def of(cls, pixels: Pixels) -> View:
        """Return a view of pixels [H, W, 3] that are decoded already."""
        return cls(lambda: pixels)

    def release(self) -> None:
        """Free the pixels and all that is large. Call `attach` before the view is compared again."""
        self._decode = self._pixels = None
        self.__dict__.pop("grey", None)
        self._reduced = {key: plane for key, plane in self._reduced.items() if plane.nbytes <= _MAX_KEPT_BYTES}

    def attach(self, decode: Callable[[], Pixels]) -> None:
        """Set the function that decodes the same pixels again. It is called only if they are needed."""
        self._decode = decode

    @property
    def pixels(self) -> Pixels:
        """RGB [H, W, 3]."""
        if self._pixels is None:
            assert self._decode is not None  # attached
            self._pixels = self._decode()
        return self._pixels

    @property
    def decoded(self) -> bool:
        """True if the pixels were decoded since the view was attached."""
        return self._pixels is not None

    @cached_property
    def grey(self) -> Pixels:
        """[H, W]."""
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(self.pixels), cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    def shrunk(self, side: int, strips: bool = False, colour: bool = False) -> Pixels:
        """Return `grey` [h, w], or in colour [h, w, 3], reduced to `side` pixels as `resize.reduction` counts them."""
        return self.reduced(reduction(self.size, side, strips), colour)

    def reduced(self, factor: float, colour: bool = False) -> Pixels:
        """Return `grey` [h, w], or in colour [h, w, 3], reduced by a factor."""
        key = reduced_size(self.size, factor), colour
        if key not in self._reduced:
            self._reduced[key] = reduced(self.pixels if colour else self.grey, factor)
        return self._reduced[key]

    @cached_property
    def thumb(self) -> Floats:
        """[THUMB_SIDE, THUMB_SIDE], stretched, of mean 0 and standard deviation 1."""
        thumb = cv2.resize(self.grey, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        thumb -= thumb.mean()
        return np.asarray(thumb / max(float(thumb.std()), 1e-6), dtype=np.float32)

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the grey levels."""
        return float(cv2.meanStdDev(self.grey)[1].item())

    @cached_property
    def sharpness(self) -> float:
        """Root mean square gradient at 256 pixels, divided by the standard deviation."""
        small = self.shrunk(_SMALL_SIDE).astype(np.float32)
        across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=1)
        return float(np.sqrt((across * across + down * down).mean())) / max(float(small.std()), 1e-3)

    def is_page(self, levels: TextLevels) -> bool:
        """Return True for a page of text."""
        if levels not in self._is_page:
            self._is_page[levels] = is_page(self.grey, self.shrunk(_SMALL_SIDE), levels)
        return self._is_page[levels]

    def printed_share(self, levels: PrintLevels) -> float:
        """Return the share of the picture that is print, 0..1."""
        if levels not in self._printed:
            self._printed[levels] = printed_share(self.grey, levels)
        return self._printed[levels]

    def bars(self, levels: BarLevels) -> tuple[Bar, ...]:
        """Return the bars along its edges."""
        if levels not in self._bars:
            self._bars[levels] = find_bars(self.shrunk(_SMALL_SIDE, colour=True), self.size, levels)
        return self._bars[levels]

    def features(self, side: int, levels: FeatureLevels) -> Features:
        """Return the features found at `side` pixels."""
        key = side, levels
        if key not in self._features:
            self._features[key] = find_features(self.shrunk(side, strips=True), self.size, levels)
        return self._features[key]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures to compare, and the levels to compare them by."""

    original: View
    copy: View
    levels: Levels
