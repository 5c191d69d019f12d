"""From pixels to neighbours: the trained bundle, its encoder, clusters and the exact vector index.

The package reads and writes bundles, but knows no pictures' files, no catalogue and no verdicts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
