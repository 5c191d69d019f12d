"""How the daemon's own log looks: JSON lines under systemd, readable lines elsewhere, always on standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO

import structlog

from twinwatch.wording import escape_controls


def configure(verbose: bool) -> None:
    """Set up structlog for this process."""
    under_systemd = "INVOCATION_ID" in os.environ or "JOURNAL_STREAM" in os.environ
    look: list[structlog.typing.Processor]
    if under_systemd and not sys.stderr.isatty():
        look = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        look = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _plain,
            *look,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )


def configure_quiet() -> None:
    """For commands that report by themselves: only what went wrong is logged."""
    configure(verbose=False)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


class _Lines:
    """Writes a line, or does without it: a full disk or a closed pipe must not reach the work that is reported."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = exception = critical = msg


def _plain(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out what is absent; names of others can forge nothing."""
    shown = {key: escape_controls(value) if isinstance(value, str) else value for key, value in event.items()}
    return {key: value for key, value in shown.items() if value is not None}
