"""Moves copies into quarantine, puts them back, and settles what a crash left half done.

It is the only package that touches users' files. It never deletes, replaces or writes to one, and it knows no store:
each file's record on disk is enough to restore it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
