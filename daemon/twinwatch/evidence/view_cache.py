"""The views compared last, without their pixels: a picture similar to one new file is often similar to the next."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from twinwatch.errors import UnreadableError
from twinwatch.evidence.arrays import Pixels
from twinwatch.evidence.view import View


class ViewCache:
    """A least-recently-used cache of views, of some 100 KB each, by the SHA-256 of their files.

    The caller has to `release` a view that it got once it is done with it.
    """

    def __init__(self, max_views: int = 500) -> None:
        self._max_views = max_views
        self._views: OrderedDict[str, View] = OrderedDict()
        self._executor = ThreadPoolExecutor(1, "prefetch")
        self._prefetched_sha256 = ""
        self._prefetched: Future[Pixels] | None = None

    def prefetch(self, sha256: str, decode: Callable[[], Pixels]) -> None:
        """Start to decode these bytes in a second thread, for the next `get` if that asks for them."""
        self.wait()
        with contextlib.suppress(RuntimeError):  # the process may not start a thread
            self._prefetched_sha256, self._prefetched = sha256, self._executor.submit(decode)

    def wait(self) -> None:
        """Wait for the second thread: memory that is enough for one picture may not be for two."""
        if self._prefetched is not None:
            wait([self._prefetched])

    def get(self, sha256: str, decode: Callable[[], Pixels]) -> View:
        """Return the view of these bytes, with what was measured before. Raises what `decode` raises.

        A prefetched decode is used by the next `get` only. A later call decodes again, as its file may have changed.
        """
        prefetched = self._prefetched if self._prefetched_sha256 == sha256 else None
        self._prefetched_sha256 = ""
        decode = partial(self._decode, prefetched, decode)
        cached = self._views.pop(sha256, None)
        view = View(decode) if cached is None else cached
        view.attach(decode)
        self._views[sha256] = view
        if len(self._views) > self._max_views:
            self._views.popitem(last=False)
        return view

    def _decode(self, prefetched: Future[Pixels] | None, decode: Callable[[], Pixels]) -> Pixels:
        self.wait()
        self._prefetched = None
        if prefetched is not None:
            with contextlib.suppress(UnreadableError):
                return prefetched.result()
        return decode()
