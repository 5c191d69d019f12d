from .edits import (
    ALL_EDITS as ALL_EDITS,
    EDITS as EDITS,
    HARD_EDITS as HARD_EDITS,
    OTHER_EDITS as OTHER_EDITS,
    SEED_EDITS as SEED_EDITS,
    edit_file as edit_file,
    edited_bytes as edited_bytes,
)
from .measure import (
    Calibration as Calibration,
    CalibrationRun as CalibrationRun,
    calibrate as calibrate,
    write_calibrated as write_calibrated,
)
from .pictures import (
    pictures_below as pictures_below,
    view_of as view_of,
)
from .report import findings as findings
