"""The file system without surprises: opens that follow no link, identity, mounts, and the system calls Python lacks.

It never writes to a user's file and knows nothing of pictures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
