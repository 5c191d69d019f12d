"""What people and programs are told of verdicts: the duplicates log and its outbox.

It never decides and never rewrites a line.
"""

from twinwatch.reporting.duplicates_log import DuplicatesLog, event_of, flush_outbox, path_fields

__all__ = [
    "DuplicatesLog",
    "event_of",
    "flush_outbox",
    "path_fields",
]
