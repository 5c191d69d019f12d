from . import logs as logs
from .checks import (
    Check as Check,
    CheckOutcome as CheckOutcome,
    run_checks as run_checks,
)
from .daemon import run_daemon as run_daemon
from .scan_once import (
    ScanReport as ScanReport,
    catalogue_for as catalogue_for,
    distinct as distinct,
    scan_folders as scan_folders,
)
from .signal_flags import Signals as Signals
from .state import StateFolder as StateFolder
from .status import read_status as read_status
