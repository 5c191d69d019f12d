"""Decoder processes: the pool, the tasks they run, and the limits and rights they run under.

What a process answers is read as data, never obeyed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
