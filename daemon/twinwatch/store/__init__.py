"""The catalogue behind one contract: roots, files, queue, contents, verdicts and the index of their embeddings.

Nothing outside this package knows SQL. It never opens a user's file.
"""

from twinwatch.store.base import Store
from twinwatch.store.root_lookup import RootOfflineError, resolve_root
from twinwatch.store.store import open_store
from twinwatch.store.values import (
    ORIGINAL_STATES,
    Action,
    Content,
    ContentFiles,
    Dismissal,
    File,
    FileState,
    Kind,
    QueueState,
    Root,
    UnreadableFile,
    Verdict,
    VerdictState,
)

__all__ = [
    "ORIGINAL_STATES",
    "Action",
    "Content",
    "ContentFiles",
    "Dismissal",
    "File",
    "FileState",
    "Kind",
    "QueueState",
    "Root",
    "RootOfflineError",
    "Store",
    "UnreadableFile",
    "Verdict",
    "VerdictState",
    "open_store",
    "resolve_root",
]
