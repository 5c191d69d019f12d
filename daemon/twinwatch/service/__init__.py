"""The daemon and the one-off scan: builds all parts, starts threads, answers signals, keeps the state folder.

It never judges a picture, moves a file or knows SQL; it only connects the packages that do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
