"""A person says that a verdict was wrong."""

from __future__ import annotations

from twinwatch.clock import utc_now
from twinwatch.config import Settings
from twinwatch.review.quarantined import moved_since, quarantined_files
from twinwatch.review.restore import RestoreResult, log_now, restore_files
from twinwatch.store import Action, FileState, Store, Verdict, VerdictState


def dismiss_verdict(settings: Settings, store: Store, verdict: Verdict) -> tuple[RestoreResult | None, str]:
    """Remember by content that a verdict was wrong, and put a quarantined file back.

    Returns what became of the restore, and why the log could not be written, if so. A verdict that was dismissed
    before is left alone. Where the file cannot go back yet, the content is remembered, and a second call puts the file
    back. Raises StorageError where it cannot be remembered; then nothing was done.
    """
    if verdict.state is VerdictState.DISMISSED:
        return None, ""
    store.dismissals.add(verdict.sha256, verdict.original_sha256, utc_now())
    store.commit()
    restored = None
    if verdict.action is Action.QUARANTINED and verdict.state is VerdictState.DONE:
        files = [file for file in moved_since(quarantined_files(settings, store)) if file.id == verdict.id]
        restored = next(iter(restore_files(settings, files, store)), None)
        if restored is not None and restored.error:
            return restored, ""
    file = None if verdict.file_id is None else store.files.get(verdict.file_id)
    # A file that is gone may have left its name to another.
    if file is not None and file.state in (FileState.DUPLICATE, FileState.RESTORED):
        store.files.dismiss(file.id)
    store.verdicts.mark_dismissed(verdict.id, utc_now())
    store.commit()
    return restored, log_now(settings, store)
