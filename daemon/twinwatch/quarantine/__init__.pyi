from .directories import (
    BusyError as BusyError,
    stir as stir,
)
from .proof import (
    ChangedError as ChangedError,
    refusals as refusals,
)
from .quarantine import (
    Moved as Moved,
    Quarantine as Quarantine,
    StorageFaultError as StorageFaultError,
)
from .records import (
    MoveOrder as MoveOrder,
    Record as Record,
)
