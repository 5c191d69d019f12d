"""What people and programs are told of verdicts: the duplicates log and its outbox.

It never decides and never rewrites a line.
"""

from twinwatch.reporting.duplicates_log import DuplicatesLog
from twinwatch.reporting.events import event_of, path_fields
from twinwatch.reporting.outbox import flush_outbox

__all__ = ["DuplicatesLog", "event_of", "flush_outbox", "path_fields"]
