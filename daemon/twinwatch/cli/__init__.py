"""The `twinwatch` command: one module a command, and how output looks.

It is the only package that prints or exits. It decides nothing: it reads arguments, calls one function of another
package and shows what that returned.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
