"""How messages say numbers, users and paths. It decides nothing and looks up nothing but names of accounts."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta


def pluralize(number: int, noun: str, plural: str = "") -> str:
    """Return `1 folder`, `2 folders`; `plural` is for nouns that take more than an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def backlog_text(waiting: int, files_per_s: float) -> str:
    """Return `20 waiting`, with `2.5 files/s, 0:00:08 left` where there is both a pace and something to do."""
    if not waiting or not files_per_s:
        return f"{waiting} waiting"
    return f"{waiting} waiting, {files_per_s:.1f} files/s, {timedelta(seconds=round(waiting / files_per_s))} left"


def user_name(uid: int | None = None) -> str:
    """Return the name of a user, of the one who runs this if none is given; `uid 995` where the number has no name."""
    number = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def error_text(error: Exception) -> str:
    """Return the system's words for an error where it has some, without its number and path, else the error's own."""
    return getattr(error, "strerror", None) or str(error)


def show_path(path: bytes) -> str:
    """A path as text that cannot forge a line or a terminal: undecodable and control characters are escaped."""
    return escape_controls(path.decode("utf-8", "backslashreplace"))


def escape_controls(text: str) -> str:
    """Text of others, on one line, that cannot forge a line or a terminal; what is escaped already stays as it is."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
