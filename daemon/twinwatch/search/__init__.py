"""From pixels to neighbours: the trained bundle, the encoder, clusters and the exact index.

It knows no files, no catalogue and no verdicts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
