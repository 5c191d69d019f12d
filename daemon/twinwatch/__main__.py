"""Where the command starts. Decoder processes import what their parent started from, so it holds nothing yet."""

import os

from twinwatch import interrupts


def main() -> None:
    """Run the command line."""
    # Each thread of BLAS keeps some 8 MB, and there is little for it to do here. It is read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with interrupts.fatal():
        from twinwatch.cli import main as command

    command()


if __name__ == "__main__":
    main()
