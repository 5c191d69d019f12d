"""One file's way from the queue to its outcome: decode, embed, search, decide, apply.

`decide` is pure; `apply` is the only writer. It never watches folders and never prints.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
