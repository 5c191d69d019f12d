from . import decisions as decisions
from .recovery import reconcile as reconcile
