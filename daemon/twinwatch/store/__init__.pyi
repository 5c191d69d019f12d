from .catalog import (
    ORIGINALS as ORIGINALS,
    Catalog as Catalog,
    Content as Content,
    ContentFiles as ContentFiles,
    File as File,
    Root as Root,
    UnreadableFile as UnreadableFile,
)
from .root_lookup import (
    RootOfflineError as RootOfflineError,
    resolve_root as resolve_root,
)
from .tables import (
    connect as connect,
    contents as contents,
    embeddings as embeddings,
    files as files,
)
from .verdicts import Verdict as Verdict
