"""How a command line that is used wrongly says so: what was typed is shown, and can forge nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from twinwatch.wording import escape_controls


class SafeGroup(TyperGroup):
    """The group that both command lines are; Typer itself escapes some control characters only."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _harmless():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _harmless():
            return super().invoke(ctx)


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except TyperException as error:
        error.message = escape_controls(error.message)
        raise
