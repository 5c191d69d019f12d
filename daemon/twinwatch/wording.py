"""Numbers, users, errors and paths as text for messages."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta


def pluralize(number: int, noun: str, plural: str = "") -> str:
    """Return `1 folder` or `2 folders`; `plural` is needed where the noun takes more than an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def backlog_text(waiting: int, files_per_s: float) -> str:
    """Return `20 waiting`, or `20 waiting, 2.5 files/s, 0:00:08 left` where files wait and the speed is known."""
    if not waiting or not files_per_s:
        return f"{waiting} waiting"
    return f"{waiting} waiting, {files_per_s:.1f} files/s, {timedelta(seconds=round(waiting / files_per_s))} left"


def user_name(uid: int | None = None) -> str:
    """Return the name of a user, by default the one this process acts as; `uid 995` if the number has no account."""
    number = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def error_text(error: Exception) -> str:
    """Return an OSError's text without its number and path; for other errors, the whole message."""
    return getattr(error, "strerror", None) or str(error)


def show_path(path: bytes) -> str:
    """Return a path as one line of text; bytes that are not UTF-8 and control characters are escaped."""
    return escape_controls(path.decode("utf-8", "backslashreplace"))


def escape_controls(text: str) -> str:
    """Return the text with control characters escaped, so that it can forge neither a line nor terminal codes.

    Backslashes stay as they are: a text that is escaped already does not change.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
