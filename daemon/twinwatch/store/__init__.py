"""The catalogue behind one contract: roots, files, queue, contents, verdicts and the index of their embeddings.

Nothing outside this package knows SQL. It never opens a user's file.
"""

from twinwatch.store.catalog import ORIGINALS, Catalog, Content, ContentFiles, File, Root, UnreadableFile
from twinwatch.store.root_lookup import RootOfflineError, resolve_root
from twinwatch.store.tables import connect, contents, embeddings, files
from twinwatch.store.verdicts import Verdict

__all__ = [
    "ORIGINALS",
    "Catalog",
    "Content",
    "ContentFiles",
    "File",
    "Root",
    "RootOfflineError",
    "UnreadableFile",
    "Verdict",
    "connect",
    "contents",
    "embeddings",
    "files",
    "resolve_root",
]
