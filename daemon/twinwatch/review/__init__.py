"""What people decide about copies: restore, dismiss, resume, rebuild; and what the store learns from quarantine.

It needs no model, decoder or judge, so that a file can be put back when those are broken.
"""

from twinwatch.review.dismiss import dismiss_verdict
from twinwatch.review.ids import select, select_verdicts
from twinwatch.review.quarantined import QuarantinedFile, moved_since, quarantined_files
from twinwatch.review.rebuild import rebuild_catalog
from twinwatch.review.recovery import reconcile
from twinwatch.review.restore import RestoreResult, open_store_if_sound, restore_files
from twinwatch.review.resume import resume_roots

__all__ = [
    "QuarantinedFile",
    "RestoreResult",
    "dismiss_verdict",
    "moved_since",
    "open_store_if_sound",
    "quarantined_files",
    "rebuild_catalog",
    "reconcile",
    "restore_files",
    "resume_roots",
    "select",
    "select_verdicts",
]
