"""Where the command starts. Decoder processes import what their parent started from, so it holds nothing yet."""


def main() -> None:
    """Run the command line."""
    from twinwatch.cli import main as command

    command()


if __name__ == "__main__":
    main()
