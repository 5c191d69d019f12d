from . import daemon as daemon, logs as logs
from .checks import (
    Check as Check,
    CheckOutcome as CheckOutcome,
    run_checks as run_checks,
)
from .scan_once import (
    ScanReport as ScanReport,
    catalogue_for as catalogue_for,
    distinct as distinct,
    scan_folders as scan_folders,
)
from .state import StateFolder as StateFolder
from .status import read_status as read_status
