"""A Typer group whose usage errors cannot forge terminal output: control characters typed by the user are escaped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from twinwatch.wording import escape_controls


class SafeGroup(TyperGroup):
    """The group class of `twinwatch` and `twinwatch-train`. Typer itself escapes only some control characters."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _escaped_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _escaped_errors():
            return super().invoke(ctx)


@contextmanager
def _escaped_errors() -> Iterator[None]:
    try:
        yield
    except TyperException as error:
        error.message = escape_controls(error.message)
        raise
