"""What is in the watched folders, and has it changed: events, scans, settling, the state of each root.

It never opens a picture, judges or moves one. It meets judging only in the store's queue.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
