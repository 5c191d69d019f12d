"""A decoded picture as evidence looks at it, and what was found out so far: one picture is compared with many.

What was found out is small, so it is kept when the pixels are let go; most strangers are told by it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.bars import Bar, find_bars
from twinwatch.evidence.features import Features, find
from twinwatch.evidence.text import printed, reduced, reduced_size, reduction, text_like

Pixels = NDArray[np.uint8]

THUMB = 32
"""Pixels of a side of `View.thumb`: enough to tell the eight orientations apart, few enough to survive any blur."""
_KEPT_BYTES = 1 << 16  # 256 by 256 pixels in grey


class View:
    """RGB pixels [H, W, 3] as `decode` returns them, never written to; the rest is found when first asked for.

    Raises what `decode` raises. `size` is width and height.
    """

    def __init__(self, decode: Callable[[], Pixels]) -> None:
        self._decode: Callable[[], Pixels] | None = decode
        self._pixels: Pixels | None = decode()
        self.size = self._pixels.shape[1], self._pixels.shape[0]
        self._shrunk: dict[tuple[tuple[int, int], bool], Pixels] = {}
        self._features: dict[int, Features] = {}

    @classmethod
    def of(cls, pixels: Pixels) -> View:
        return cls(lambda: pixels)

    def rest(self) -> None:
        """Let go of all that is large. It must `wake` before it is compared again."""
        self._decode = self._pixels = None
        self.__dict__.pop("grey", None)
        self._shrunk = {key: plane for key, plane in self._shrunk.items() if plane.nbytes <= _KEPT_BYTES}

    def wake(self, decode: Callable[[], Pixels]) -> None:
        """Take its pixels from here, if they are needed at all: the same as before."""
        self._decode = decode

    @property
    def pixels(self) -> Pixels:
        """[H, W, 3]."""
        if self._pixels is None:
            assert self._decode is not None  # it is awake
            self._pixels = self._decode()
        return self._pixels

    @property
    def decoded(self) -> bool:
        """True if that was done since it woke."""
        return self._pixels is not None

    @cached_property
    def grey(self) -> Pixels:
        """[H, W]."""
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(self.pixels), cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    def shrunk(self, side: int, strips: bool = False, colour: bool = False) -> Pixels:
        """`grey` [h, w], or in colour [h, w, 3], reduced to `side` pixels as `text.reduction` counts them."""
        return self.reduced(reduction(self.size, side, strips), colour)

    def reduced(self, factor: float, colour: bool = False) -> Pixels:
        """The same, reduced by a factor."""
        key = reduced_size(self.size, factor), colour
        if key not in self._shrunk:
            self._shrunk[key] = reduced(self.pixels if colour else self.grey, factor)
        return self._shrunk[key]

    @cached_property
    def thumb(self) -> NDArray[np.float32]:
        """[THUMB, THUMB], stretched, of mean 0 and deviation 1."""
        thumb = cv2.resize(self.grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        thumb -= thumb.mean()
        return np.asarray(thumb / max(float(thumb.std()), 1e-6), dtype=np.float32)

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the grey levels."""
        return float(cv2.meanStdDev(self.grey)[1].item())

    @cached_property
    def text_like(self) -> bool:
        """True for a page."""
        return text_like(self.grey, self.shrunk(256))

    @cached_property
    def sharpness(self) -> float:
        """Gradient for each grey level of deviation, at 256 pixels."""
        small = self.shrunk(256).astype(np.float32)
        across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=1)
        return float(np.sqrt((across * across + down * down).mean())) / max(float(small.std()), 1e-3)

    @cached_property
    def printed(self) -> float:
        """Share of the picture that is printed."""
        return printed(self.grey)

    @cached_property
    def bars(self) -> tuple[Bar, ...]:
        """Bars along its edges."""
        return find_bars(self.shrunk(256, colour=True), self.size)

    def features(self, side: int) -> Features:
        """Features found at `side` pixels."""
        if side not in self._features:
            self._features[side] = find(self.shrunk(side, strips=True), self.size)
        return self._features[side]
