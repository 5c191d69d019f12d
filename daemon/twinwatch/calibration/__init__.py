"""Measures the error rates of a bundle on real pictures and chooses its radius and evidence level.

It holds the catalogue of edits, error rates with their bounds, and the calibration of a bundle. It never changes the
pictures it measures on, and the running daemon never imports it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
