"""Where the command starts. Decoder processes import what their parent started from, so it holds nothing yet."""

import os


def main() -> None:
    """Run the command line."""
    # The processes are as many as the cores: threads of BLAS beside them would spin while they wait for one, and each
    # keeps some 8 MB. It is read when numpy is loaded, here and in the processes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from twinwatch.cli import main as command

    command()


if __name__ == "__main__":
    main()
