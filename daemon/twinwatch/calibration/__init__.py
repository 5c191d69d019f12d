"""Measures on real pictures what would be found and who accused, and chooses radius and evidence level.

The running daemon never imports it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
