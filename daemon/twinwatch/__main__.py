"""Where the command starts. Decoder processes import what their parent started from, so it holds nothing yet."""

import os
import sys

from twinwatch.signals import sigint_deferred


def main() -> None:
    """Run the command line."""
    # Each thread of BLAS keeps some 8 MB, and there is little for it to do here. It is read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with sigint_deferred():
            from twinwatch.cli import main as command
    except KeyboardInterrupt:  # later it is the command's to answer
        sys.exit(130)

    command()


if __name__ == "__main__":
    main()
