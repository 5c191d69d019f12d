"""Evidence: do two pictures show the same? Pure functions over pixels: alignment, photos, pages, details, colours.

The package reads no file and decides nothing about one. Every number that it compares by is in `levels`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
