"""Where the command line starts, and where errors become messages and exit codes.

The module is not called `main`: the package exports the function under that name, and a module of the same name would
replace it as soon as it is imported.
"""

from __future__ import annotations

import sys

from rich.text import Text

from twinwatch.cli import terminal
from twinwatch.cli.app import app
from twinwatch.errors import TwinwatchError


def main() -> None:
    """Run the command that the arguments name. An error is printed, and its exit code ends the process."""
    try:
        app()
    except TwinwatchError as error:
        terminal.err.print(Text(f"twinwatch: {error}"))  # may be several lines; the error escapes control characters
        sys.exit(error.exit_code)
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        terminal.print_line(terminal.err, f"twinwatch: {path}{error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
