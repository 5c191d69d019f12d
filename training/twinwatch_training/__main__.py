"""Where the command starts. It is there after `make run` too, which does not install what it needs."""

import sys


def main() -> None:
    """Run the command line, or say how to install what is missing."""
    try:
        from twinwatch_training.cli import main as command
    except ModuleNotFoundError as error:
        sys.exit(f"twinwatch-train: {error.name} is not installed; `make training` installs all that it needs")

    command()


if __name__ == "__main__":
    main()
