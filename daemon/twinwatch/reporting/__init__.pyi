from .duplicates_log import (
    DuplicatesLog as DuplicatesLog,
    event_of as event_of,
    flush_outbox as flush_outbox,
    path_fields as path_fields,
)
