"""The entry point of `python -m twinwatch` and of the installed command.

Decoder processes import this module again when they start, so it imports almost nothing at the top.
"""

import os
import sys

from twinwatch.signals import sigint_deferred


def main() -> None:
    """Run the command line."""
    # Each BLAS thread keeps about 8 MB, and the matrices here are small. NumPy reads the variable when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with sigint_deferred():
            from twinwatch.cli import main as command
    except KeyboardInterrupt:  # from here on the command itself answers Ctrl-C
        sys.exit(130)

    command()


if __name__ == "__main__":
    main()
