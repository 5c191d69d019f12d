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
        self._begun: tuple[str, Future[Pixels]] | None = None

    def begin(self, sha256: str, decode: Callable[[], Pixels]) -> None:
        """Have a second thread decode these bytes, for the next `view` of them; what was begun before is forgotten."""
        self.wait()
        with contextlib.suppress(RuntimeError):  # there may be no thread
            self._begun = sha256, self._beside.submit(decode)

    def wait(self) -> None:
        """Let the second thread come to an end: two pictures may not fit into the memory that one does."""
        if self._begun is not None:
            wait([self._begun[1]])

    def view(self, sha256: str, decode: Callable[[], Pixels]) -> View:
        """Return the view of these bytes, with what was found out before. Raises what `decode` raises."""
        decode = partial(self._decoded, sha256, decode)
        known = self._views.pop(sha256, None)
        view = View(decode) if known is None else known
        view.wake(decode)
        self._views[sha256] = view
        if len(self._views) > self._most:
            self._views.popitem(last=False)
        return view

    def _decoded(self, sha256: str, decode: Callable[[], Pixels]) -> Pixels:
        self.wait()
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == sha256:
            with contextlib.suppress(UnreadableError):
                return begun[1].result()
        return decode()
