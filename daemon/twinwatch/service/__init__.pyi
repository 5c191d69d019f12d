from . import daemon as daemon, logs as logs
from .checks import (
    Check as Check,
    run_checks as run_checks,
)
from .scan_once import (
    catalogue_for as catalogue_for,
    distinct as distinct,
    scan_folders as scan_folders,
)
from .state import StateFolder as StateFolder
