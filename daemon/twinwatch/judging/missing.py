"""Originals that a search did not find in place: when one is there again, files that missed it are judged again.

A folder that was offline for a moment leaves no other trace: its files are known, and not judged again.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from twinwatch.judging.watched_root import WatchedRoots
from twinwatch.search import Bundle
from twinwatch.store import ORIGINAL_STATES, Content, Store

_MAX_MISSING = 10_000  # a deleted file stays among them until so many others were missed
_LOOKED_AT_ONCE = 256
_FIRST_PAUSE_S, _MAX_PAUSE_S = 4.0, 3600.0


@dataclass(slots=True)
class _MissingFile:
    """Since when copies may have missed a file, and when (monotonic) it is next looked for."""

    since_ns: int
    due_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    was_absent: bool = False  # it was looked for, and was not there


class MissingOriginals:
    """The missing originals by file id; the store remembers them over a restart."""

    def __init__(self, store: Store, bundle: Bundle, roots: WatchedRoots) -> None:
        self._store = store
        self._bundle = bundle
        self._roots = roots
        self._files = {
            file_id: _MissingFile(since_ns, was_absent=True) for file_id, since_ns in store.missing.all().items()
        }

    def add(self, file_id: int, since_ns: int) -> None:
        self._files.setdefault(file_id, _MissingFile(since_ns))
        self._store.missing.add(file_id, since_ns)
        if len(self._files) > _MAX_MISSING:
            self.remove(next(iter(self._files)))

    def remove(self, file_id: int) -> int | None:
        """Forget a file; return since when it was missing, if it was."""
        missing = self._files.pop(file_id, None)
        if missing is None:
            return None
        self._store.missing.remove(file_id)
        return missing.since_ns

    def found(self, file_id: int, content: Content) -> None:
        """Note that a file is in place, and let the files be judged again that may have missed it."""
        since_ns = self.remove(file_id)
        if since_ns is not None:
            self._rejudge_late(file_id, content, since_ns)

    def look(self) -> None:
        """See whether some of them are in place again, just as they were. Raises OSError."""
        now_s = time.monotonic()
        due = (item for item in self._files.items() if item[1].due_s <= now_s)
        for file_id, missing in list(itertools.islice(due, _LOOKED_AT_ONCE)):
            missing.due_s = now_s + missing.pause_s
            content = self._content_in_place(file_id)
            if content is None:
                missing.was_absent = True
            elif missing.was_absent:  # otherwise it was under way for an instant, and is judged at its new path
                self._rejudge_late(file_id, content, missing.since_ns)
                self._store.missing.remove(file_id)
                # A file that is there and cannot be compared is missed again, so each time it takes longer.
                missing.since_ns, missing.pause_s = time.time_ns(), min(_MAX_PAUSE_S, 2 * missing.pause_s)

    def _content_in_place(self, file_id: int) -> Content | None:
        """Return what an original holds, if it is one and just as it was."""
        file = self._store.files.get(file_id)
        if file is None or file.content_id is None or file.state not in ORIGINAL_STATES:
            return None
        root = self._roots.get(file.root_id)
        if root is None or root.unchanged(file.path, file.identity) is None:
            return None
        return self._store.contents.get(file.content_id)

    def _rejudge_late(self, file_id: int, content: Content, since_ns: int) -> None:
        near = {content.id}
        vector = self._store.contents.embedding(content.id, self._bundle.id)
        if content.id in self._store.vectors and vector is not None:
            near.update(match.key for match in self._store.vectors.query(vector, self._bundle.largest_radius))
        self._store.queue.rejudge_kept(near, since_ns, exclude=file_id)
