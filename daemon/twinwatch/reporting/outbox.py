"""The outbox: verdicts in the store whose line the duplicates log does not have yet."""

from __future__ import annotations

from twinwatch.errors import StorageError
from twinwatch.reporting.duplicates_log import DuplicatesLog
from twinwatch.reporting.events import event_of
from twinwatch.store import Store


def flush_outbox(store: Store, log: DuplicatesLog, after_crash: bool = False) -> None:
    """Append a line for every verdict that has none yet; no two threads or processes append the same one.

    Raises OSError, StorageError, with the store rolled back; the rest then waits for the next call.
    """
    try:
        for verdict in store.verdicts.unlogged():
            # Holds the store's write lock until the commit, so that a second process finds the line written.
            if store.verdicts.claim(verdict):
                event = event_of(verdict)
                if not (after_crash and log.contains(verdict.id, event["event"])):
                    log.append(event)
            store.commit()
    except (OSError, StorageError):
        store.rollback()
        raise
