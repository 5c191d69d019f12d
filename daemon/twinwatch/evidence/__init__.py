"""Do two pictures show the same? Pure functions over pixels: photos, pages, colours, detail.

It reads no file and decides nothing about one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
