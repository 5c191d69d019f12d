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
from .exact import (
    AXES as AXES,
    MAX_CANDIDATES as MAX_CANDIDATES,
    ExactIndex as ExactIndex,
    recluster as recluster,
)
