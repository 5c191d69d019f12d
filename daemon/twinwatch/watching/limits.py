"""How many folders the kernel lets one user watch (inotify(7)), how many it watches now, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def watched_folders() -> int:
    """Return how many folders this process watches, counted by the kernel: proc(5), /proc/self/fdinfo."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(fd) == "anon_inode:inotify":
                count += Path("/proc/self/fdinfo", fd.name).read_text().count("inotify wd:")
        except OSError:  # the descriptor was closed meanwhile
            continue
    return count


def watch_limit() -> int:
    """Return the kernel's limit on watched folders for one user."""
    return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())


def limit_advice(folders: int, watched: int, limit: int) -> str:
    """Return the message for a watch limit that was reached."""
    return (
        f"only {watched} of {folders} folders are watched, as the limit on inotify watches is {limit}; what events "
        f"miss is found by scans. Raise it: sysctl -w fs.inotify.max_user_watches={max(524288, 2 * folders)}"
    )


def watch_error_text(error: OSError) -> str:
    """Return why a folder cannot be watched, with the settings to raise where a limit is the cause."""
    text = error.strerror or str(error)
    if "limit" in text or error.errno in (errno.ENOSPC, errno.EMFILE):
        return f"{text}; raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl"
    return text
