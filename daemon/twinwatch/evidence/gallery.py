"""The pictures that were compared last, as views without their pixels: who was near one newcomer is near the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from twinwatch.evidence.view import Pixels, View


class Gallery:
    """At most `most` views, of some 100 KB each. A view that was taken out is to `rest` when it is done with."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._views: OrderedDict[str, View] = OrderedDict()

    def view(self, sha256: str, decode: Callable[[], Pixels]) -> View:
        """Return the view of these bytes, with what was found out before. Raises what `decode` raises."""
        known = self._views.pop(sha256, None)
        view = View(decode) if known is None else known
        view.wake(decode)
        self._views[sha256] = view
        if len(self._views) > self._most:
            self._views.popitem(last=False)
        return view
