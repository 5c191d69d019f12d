"""The entry point of `twinwatch-train`, which reports libraries of the `training` extra that are not installed."""

import sys

from twinwatch.signals import sigint_deferred


def main() -> None:
    """Run the command line, or exit with how to install what is missing."""
    try:
        with sigint_deferred():
            from twinwatch_training.cli import main as command
    except ModuleNotFoundError as error:
        sys.exit(f"twinwatch-train: {error.name} is not installed; `make training` installs all that it needs")
    except KeyboardInterrupt:  # from here on the command handles it
        sys.exit(130)

    command()


if __name__ == "__main__":
    main()
