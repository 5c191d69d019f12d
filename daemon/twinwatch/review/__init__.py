"""What people decide about copies: restore, dismiss, resume, rebuild; and what the catalogue learns from quarantine.

It needs no model, decoder or judge, so that a file can be put back when those are broken.
"""

from twinwatch.review import decisions
from twinwatch.review.recovery import reconcile

__all__ = [
    "decisions",
    "reconcile",
]
