"""The pictures that were compared last, as views without their pixels: who was near one newcomer is near the next."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from twinwatch.errors import UnreadableError
from twinwatch.evidence.view import Pixels, View


class Gallery:
    """At most `most` views, of some 100 KB each. A view that was taken out is to `rest` when it is done with."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._views: OrderedDict[str, View] = OrderedDict()
        self._beside = ThreadPoolExecutor(1, "decode-beside")
        self._begun = ""
        self._decoding: Future[Pixels] | None = None

    def begin(self, sha256: str, decode: Callable[[], Pixels]) -> None:
        """Have a second thread decode these bytes, for the next `view` if it is of them."""
        self.wait()
        with contextlib.suppress(RuntimeError):  # there may be no thread
            self._begun, self._decoding = sha256, self._beside.submit(decode)

    def wait(self) -> None:
        """Let the second thread come to an end: two pictures may not fit into the memory that one does."""
        if self._decoding is not None:
            wait([self._decoding])

    def view(self, sha256: str, decode: Callable[[], Pixels]) -> View:
        """Return the view of these bytes, with what was found out before. Raises what `decode` raises.

        What was begun is for this view or for none: a later one has to see for itself what its file holds then.
        """
        begun = self._decoding if self._begun == sha256 else None
        self._begun = ""
        decode = partial(self._decoded, begun, decode)
        known = self._views.pop(sha256, None)
        view = View(decode) if known is None else known
        view.wake(decode)
        self._views[sha256] = view
        if len(self._views) > self._most:
            self._views.popitem(last=False)
        return view

    def _decoded(self, begun: Future[Pixels] | None, decode: Callable[[], Pixels]) -> Pixels:
        self.wait()
        self._decoding = None
        if begun is not None:
            with contextlib.suppress(UnreadableError):
                return begun.result()
        return decode()
