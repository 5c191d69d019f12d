from .arrays import Pixels as Pixels
from .comparison import (
    Evidence as Evidence,
    compare as compare,
)
from .levels import (
    DEFAULT as DEFAULT,
    EVIDENCE_SIDE as EVIDENCE_SIDE,
    Levels as Levels,
)
from .view import View as View
from .view_cache import ViewCache as ViewCache
