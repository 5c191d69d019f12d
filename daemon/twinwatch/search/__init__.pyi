from .base import (
    MAX_CANDIDATES as MAX_CANDIDATES,
    Match as Match,
    VectorIndex as VectorIndex,
)
from .bundle import (
    EMBEDDING_DIM as EMBEDDING_DIM,
    Bundle as Bundle,
    ErrorRate as ErrorRate,
    Manifest as Manifest,
    bundle_path as bundle_path,
    load_bundle as load_bundle,
)
from .bundle_writer import (
    require_writable_target as require_writable_target,
    write_bundle as write_bundle,
)
from .clusters import (
    Centroids as Centroids,
    radius_correction as radius_correction,
)
from .encoder import Encoder as Encoder
from .exact import ExactIndex as ExactIndex
from .reclustering import (
    catch_up as catch_up,
    recluster as recluster,
)
