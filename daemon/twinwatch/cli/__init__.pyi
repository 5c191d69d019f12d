from .entry import main as main
from .tables import calibration_table as calibration_table
from .typer_group import SafeGroup as SafeGroup
