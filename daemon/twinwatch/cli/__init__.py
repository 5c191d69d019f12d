"""The `twinwatch` command line: one module for each command, and the code that prints.

Only this package prints or exits. A command reads its arguments, calls other packages and shows what they return; it
makes no decision about a file. A command function imports inside its body whatever takes long to load, so that
`twinwatch list` loads neither ONNX Runtime nor OpenCV.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
