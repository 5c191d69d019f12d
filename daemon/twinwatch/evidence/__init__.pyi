from .comparison import (
    EVIDENCE_SIDE as EVIDENCE_SIDE,
    Evidence as Evidence,
    compare as compare,
)
from .view import (
    Pixels as Pixels,
    View as View,
)
from .view_cache import Gallery as Gallery
