"""Brightness and contrast as one linear map of grey levels, clipped at black and white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinwatch.evidence.arrays import Floats


@dataclass(frozen=True, slots=True)
class Tone:
    """copy = gain * original + offset in grey levels 0..255, clipped there."""

    gain: float
    offset: float

    def clipped_share(self, base: Floats, warped: Floats) -> float:
        """Return the share of pixels whose levels the picture of higher contrast lost; both [h, w], -128..127."""
        unclipped = self._apply(base) if self.gain >= 1 else self._undo(warped)
        return float((np.abs(unclipped) > 128).mean())

    def equalize(self, base: Floats, warped: Floats) -> tuple[Floats, Floats]:
        """Bring both, [h, w] in -128..127, to the levels of the one of higher contrast, clipped as that one is."""
        if self.gain >= 1:
            return np.clip(self._apply(base), -128, 127), warped
        return base, np.clip(self._undo(warped), -128, 127)

    def _apply(self, base: Floats) -> Floats:
        return np.asarray(self.gain * (base + 128) + self.offset - 128, np.float32)

    def _undo(self, warped: Floats) -> Floats:
        return np.asarray((warped + 128 - self.offset) / self.gain - 128, np.float32)
