"""The log of this process on standard error: JSON lines under systemd, readable lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO

import structlog

from twinwatch.wording import escape_controls


def configure(verbose: bool) -> None:
    """Set up structlog for this process: level INFO, or DEBUG if `verbose`."""
    under_systemd = "INVOCATION_ID" in os.environ or "JOURNAL_STREAM" in os.environ
    renderers: list[structlog.typing.Processor]
    if under_systemd and not sys.stderr.isatty():
        renderers = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        renderers = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _escape_and_drop_none,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=lambda *_: _LineLogger(sys.stderr),
        cache_logger_on_first_use=True,
    )


def configure_quiet() -> None:
    """Set up structlog for commands that print their own results: level ERROR."""
    configure(verbose=False)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


class _LineLogger:
    """Writes log lines to a file. A line that cannot be written is lost: a full disk must not stop the work itself."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = exception = critical = msg


def _escape_and_drop_none(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop fields that are None, and escape control characters in texts, such as those in a file name."""
    escaped = {key: escape_controls(value) if isinstance(value, str) else value for key, value in event.items()}
    return {key: value for key, value in escaped.items() if value is not None}
