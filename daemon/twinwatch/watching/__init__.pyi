from .events import (
    ChangeQueue as ChangeQueue,
    EventWatcher as EventWatcher,
    watch_limit as watch_limit,
)
from .ingest import (
    Ingest as Ingest,
    RootPath as RootPath,
    enqueue as enqueue,
)
from .monitor import (
    RootMonitor as RootMonitor,
    uses_events as uses_events,
)
from .scan import (
    ChangedFile as ChangedFile,
    PathFilter as PathFilter,
    scan_root as scan_root,
)
from .settle import Settler as Settler
