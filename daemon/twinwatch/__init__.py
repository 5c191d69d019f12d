"""twinwatch: finds copies of pictures, exact or edited, in watched folders."""

import os

__version__ = "0.1.0"

# ONNX Runtime sends usage data to Microsoft, and writes files for that, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
