"""What people and programs are told of verdicts: the duplicates log and its outbox.

It never decides and never rewrites a line.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
