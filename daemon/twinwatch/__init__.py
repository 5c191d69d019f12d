"""twinwatch: finds copies of pictures, exact or edited, in watched folders."""

import os

__version__ = "0.1.0"

# ONNX Runtime reports its use to its maker unless this is set before it is imported, and leaves files for it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
