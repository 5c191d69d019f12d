"""The duplicates log: one JSON object a line, UTF-8, appended with one write each. It never rewrites a line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

_TAIL_BYTES = 4 << 20
_CANNOT_SYNC = (errno.EINVAL, errno.EROFS, errno.ENOTSUP)  # a pipe, a terminal, a file system that syncs nothing


class DuplicatesLog:
    """Appends to the log at `path`. `reopen` follows a rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = self._open()

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry to disk. Raises OSError; a line cut short by a full disk is ended before the next one."""
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8")
        line = b"\n" + line if self._is_torn() else line
        if os.write(self._fd, line) < len(line):
            raise OSError(errno.ENOSPC, "no space left for the duplicates log", str(self.path))
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise

    def reopen(self) -> None:
        """Open the path again, as after a rotation. On an error the old file stays in use."""
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def close(self) -> None:
        os.close(self._fd)

    def contains(self, entry_id: str, event: str) -> bool:
        """True if the last few megabytes hold this event already: a crash may fall between writing and noting it."""
        with self.path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).splitlines()
        wanted = entry_id.encode()
        return any(_is_about(line, entry_id, event) for line in lines if wanted in line)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _is_torn(self) -> bool:
        # Looked at before every line: a command that writes beside may have met a full disk too.
        size_bytes = os.fstat(self._fd).st_size
        return size_bytes > 0 and os.pread(self._fd, 1, size_bytes - 1) != b"\n"


def _is_about(line: bytes, entry_id: str, event: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # not one of ours, or cut short
        return False
    return isinstance(entry, dict) and (entry.get("id"), entry.get("event")) == (entry_id, event)
