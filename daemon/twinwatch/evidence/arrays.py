"""Types of the arrays that evidence works on. Pixel i of a row covers the interval [i, i + 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""RGB [H, W, 3] or grey [H, W]."""
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]
"""[3, 3] in homogeneous coordinates."""
