"""The duplicates log: one JSON object a line, UTF-8, appended with one write each. It never rewrites a line."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any

from twinwatch.errors import StorageError
from twinwatch.store import Catalog, Verdict
from twinwatch.wording import show_path

_TAIL_BYTES = 4 << 20
_NO_DISK = (errno.EINVAL, errno.EROFS, errno.ENOTSUP)  # a pipe, a terminal, a file system that syncs nothing


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
            if error.errno not in _NO_DISK:
                raise

    def reopen(self) -> None:
        """Open the path again, as after a rotation. On an error the old file stays in use."""
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def close(self) -> None:
        os.close(self._fd)

    def holds(self, entry_id: str, event: str) -> bool:
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
        # Asked at every line, as a command that writes beside may have met the end of the disk too.
        size_bytes = os.fstat(self._fd).st_size
        return size_bytes > 0 and os.pread(self._fd, 1, size_bytes - 1) != b"\n"


def _is_about(line: bytes, entry_id: str, event: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # somebody else's line, or one cut short
        return False
    return isinstance(entry, dict) and (entry.get("id"), entry.get("event")) == (entry_id, event)


def path_fields(name: str, path: bytes) -> dict[str, str]:
    """The log's fields for one path: escaped text, and base64 of the bytes where the text is not the path itself."""
    shown = show_path(path)
    fields = {name: shown}
    if shown.encode("utf-8", "surrogateescape") != path:
        fields[f"{name}_b64"] = base64.b64encode(path).decode("ascii")
    return fields


def event_of(case: Verdict) -> dict[str, Any]:
    """Return the log's object for a verdict's last event; where the file lay before that event is not said again."""
    over = case.state in ("restored", "dismissed", "removed")
    time = case.event_at or case.time if over else case.time
    entry: dict[str, Any] = {
        "time": time, "id": case.id, "event": "duplicate" if case.state == "done" else case.state,
    }  # fmt: skip
    entry |= path_fields("path", _join(case.root, case.path))
    if over and case.restored_to is not None:
        entry |= path_fields("restored_to", _join(case.root, case.restored_to))
    entry |= path_fields("duplicate_of", _join(case.original_root, case.original_path))
    entry["kind"] = case.kind
    if case.kind == "near":
        entry |= {"distance": _round(case.distance), "cluster": case.cluster, "evidence": _round(case.evidence)}
        entry["edit"] = case.edit
    if not over:
        entry["action"] = case.action
        if case.quarantined_to is not None:
            entry |= path_fields("quarantined_to", _join(case.root, case.quarantined_to))
    return entry | {"sha256": case.sha256, "better": case.better}


def flush_outbox(catalog: Catalog, log: DuplicatesLog, after_crash: bool = False) -> None:
    """Append every verdict that the log does not hold yet; no two threads or processes append the same one.

    Raises OSError, StorageError, with the catalogue rolled back; the rest then waits for the next call.
    """
    try:
        for case in catalog.cases.unlogged():
            # Holds the catalogue's write lock until the commit, so whoever comes second finds the line written.
            if catalog.cases.claim_line(case):
                entry = event_of(case)
                if not (after_crash and log.holds(case.id, entry["event"])):
                    log.append(entry)
            catalog.commit()
    except (OSError, StorageError):
        catalog.rollback()
        raise


def _join(root: bytes, path: bytes) -> bytes:
    return root.rstrip(b"/") + b"/" + path


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
