"""How a root that is online is made known to judging, and what it needs first: a quarantine in step with the store."""

from __future__ import annotations

from typing import Protocol

from twinwatch.config import Watch
from twinwatch.errors import QuarantineError
from twinwatch.fs import TRANSIENT_ERRNOS
from twinwatch.quarantine import Quarantine
from twinwatch.review import reconcile
from twinwatch.store import Root, Store


class RootAttachments(Protocol):
    """Judging, as watching knows it: which roots' files it may judge. The service hands it in."""

    def attach(self, watch: Watch, root: Root, quarantine: Quarantine | None, flag_only_reason: str) -> None:
        """Let a root's files be judged. Without a quarantine its copies are only flagged."""

    def detach(self, root_id: int) -> object:
        """Let no file of a root be judged any more. A root that was not attached is ignored."""


def open_quarantine(watch: Watch, root: Root, store: Store) -> tuple[Quarantine | None, str]:
    """Return the quarantine of a root, made where it is missing; None where nothing may be moved.

    The text says why copies are only flagged although the configuration has them moved; it is empty otherwise.
    Raises StorageError, and OSError where that is unknown now, for want of descriptors or memory.
    """
    if watch.action == "flag" or watch.protect:
        return None, ""
    quarantine = Quarantine(watch.path)
    try:
        quarantine.prepare()
        reconcile(quarantine, watch.path, root, store)
    except QuarantineError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS:
            raise cause from None
        return None, str(error)
    return quarantine, ""
