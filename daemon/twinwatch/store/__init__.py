"""The catalogue behind one contract: roots, files, queue, contents, verdicts and the index of their embeddings.

Nothing outside this package knows SQL. It never opens a user's file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
