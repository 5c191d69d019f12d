"""What people decide about copies: restore, dismiss, resume, rebuild; and what the catalogue learns from quarantine.

It needs no model, decoder or judge, so that a file can be put back when those are broken.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
