"""Decoder processes: the pool, the tasks they run, and the limits and rights they run under.

A process may have been taken over by a hostile picture, so the pool reads its answers as data and never obeys them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
