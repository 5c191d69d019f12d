"""A decoded picture as evidence looks at it, and what was found out so far: one newcomer is compared with many."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from twinwatch.evidence.bars import Bar, find_bars
from twinwatch.evidence.features import Features, find
from twinwatch.evidence.text import printed, shrink, text_like

Pixels = NDArray[np.uint8]


class View:
    """RGB `pixels` [H, W, 3], never written to; the rest is found when first asked for."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self._features: dict[int, Features] = {}

    @cached_property
    def grey(self) -> Pixels:
        """[H, W]."""
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(self.pixels), cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the grey levels."""
        return float(self.grey.std())

    @cached_property
    def text_like(self) -> bool:
        """True for a page."""
        return text_like(self.grey)

    @cached_property
    def sharpness(self) -> float:
        """Gradient for each grey level of deviation, at 256 pixels."""
        small = shrink(self.grey, 256).astype(np.float32)
        across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=1)
        return float(np.sqrt((across * across + down * down).mean())) / max(float(small.std()), 1e-3)

    @cached_property
    def printed(self) -> float:
        """Share of the picture that is printed."""
        return printed(self.grey)

    @cached_property
    def bars(self) -> tuple[Bar, ...]:
        """Bars along its edges."""
        return find_bars(self.pixels)

    def features(self, side: int) -> Features:
        """Features found at `side` pixels."""
        if side not in self._features:
            self._features[side] = find(shrink(self.grey, side, strips=True), self.size)
        return self._features[side]
