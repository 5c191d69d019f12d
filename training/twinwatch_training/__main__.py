"""Where the command starts. It is there after `make run` too, which does not install what it needs."""

import sys

from twinwatch.signals import sigint_deferred


def main() -> None:
    """Run the command line, or say how to install what is missing."""
    try:
        with sigint_deferred():
            from twinwatch_training.cli import main as command
    except ModuleNotFoundError as error:
        sys.exit(f"twinwatch-train: {error.name} is not installed; `make training` installs all that it needs")
    except KeyboardInterrupt:  # later it is the command's to answer
        sys.exit(130)

    command()


if __name__ == "__main__":
    main()
