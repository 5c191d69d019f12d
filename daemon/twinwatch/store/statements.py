"""The statements that run for every file, built once: building one takes longer than SQLite takes to answer it.

Statements that run seldom are built where they are run. A parameter that selects rows has a name that no column has,
since SQLAlchemy takes a parameter with a column's name for the value to set.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from twinwatch.fs import split
from twinwatch.store.rows import identity_columns
from twinwatch.store.tables import NOTICED, ORIGINAL, PRESENT, contents, dismissals, embeddings, files, missed, verdicts
from twinwatch.store.values import File, FileState, QueueState, VerdictState

_the = sa.bindparam
_IDENTITY = ("device", "inode", "size_bytes", "mtime_ns", "ctime_ns", "links")

FILE = sa.select(files).where(files.c.id == _the("the_id"))
FILE_AT = sa.select(files).where(
    files.c.root_id == _the("root_id"),
    files.c.folder == _the("folder"),
    files.c.name == _the("name"),
    sa.text(PRESENT),
)
SAME_INODE = sa.select(files).where(
    files.c.inode == _the("inode"),
    files.c.device == _the("device"),
    files.c.id != _the("but"),
    files.c.state != FileState.QUARANTINED,
)
HOLDERS = (
    sa.select(files)
    .where(files.c.content_id.in_(_the("content_ids", expanding=True)), sa.text(ORIGINAL))
    .order_by(files.c.state == FileState.DUPLICATE, files.c.kept_ns, files.c.id)
)
HAS_ORIGINAL = sa.select(files.c.id).where(files.c.content_id == _the("content_id"), sa.text(ORIGINAL)).limit(1)
HAS_VERDICT = sa.select(verdicts.c.id).where(verdicts.c.file_id == _the("the_id")).limit(1)
CONTENT_ID = sa.select(files.c.content_id).where(files.c.id == _the("the_id"))
SET_FILE = sa.update(files).where(files.c.id == _the("the_id"))
# What a scan has reported as gone stays reported: it looked at the path after the judgement had begun.
END_JUDGEMENT = SET_FILE.values(queue=sa.case((files.c.queue == QueueState.GONE, QueueState.GONE), else_=None))
REPORT_GONE = (
    sa.update(files)
    .where(
        sa.text(PRESENT),
        *(files.c[name] == _the(f"the_{name}") for name in ("id", "root_id", "folder", "name", *_IDENTITY)),
    )
    .values(queue=QueueState.GONE)
)

_queued = ("queue", "arrived_ns", *_IDENTITY)
_new = insert(files)
# One statement, as events and a scan may name the same new file at the same time, each in a thread of its own.
ENQUEUE = _new.on_conflict_do_update(
    index_elements=["root_id", "folder", "name"],
    index_where=sa.text(PRESENT),
    set_={name: _new.excluded[name] for name in _queued},
)

GONE = sa.select(files).where(sa.text(NOTICED), files.c.queue == QueueState.GONE).limit(_the("most"))
TO_SETTLE = sa.select(files).where(
    sa.text(NOTICED), files.c.queue == QueueState.SETTLE, files.c.root_id.in_(_the("root_ids", expanding=True))
)

CONTENTS = sa.select(contents).where(contents.c.id.in_(_the("ids", expanding=True)))
CONTENT_OF = sa.select(contents).where(contents.c.sha256 == _the("sha256"))
_bytes = insert(contents)
ADD_CONTENT = _bytes.on_conflict_do_update(
    index_elements=["sha256"], set_={column.name: column for column in _bytes.excluded if column.name != "id"}
).returning(contents.c.id)
KNOWN_SHA256 = (
    sa.select(contents.c.sha256)
    .outerjoin(embeddings, (embeddings.c.content_id == contents.c.id) & (embeddings.c.bundle_id == _the("bundle_id")))
    .where(
        contents.c.size_bytes == _the("size_bytes"),
        contents.c.reason.is_not(None) | embeddings.c.content_id.is_not(None),
    )
    .limit(_the("most"))
)
ADD_EMBEDDING = insert(embeddings).on_conflict_do_nothing()

EMBEDDING = sa.select(embeddings.c.vector).where(
    embeddings.c.content_id == _the("content_id"), embeddings.c.bundle_id == _the("bundle_id")
)

COMPARABLE_EMBEDDING = (
    sa.select(embeddings.c.content_id, embeddings.c.vector)
    .select_from(files)
    .join(contents, contents.c.id == files.c.content_id)
    .join(embeddings, embeddings.c.content_id == files.c.content_id)
    .where(
        files.c.id == _the("the_id"),
        embeddings.c.bundle_id == _the("bundle_id"),
        contents.c.reason.is_(None),
        contents.c.blank.is_(False),
    )
)

VERDICTS_OF = (
    sa.select(verdicts)
    .where(verdicts.c.file_id.in_(_the("file_ids", expanding=True)))
    .order_by(verdicts.c.time, verdicts.c.id)
)
WAS_RESTORED = (
    sa.select(verdicts.c.id)
    .where(
        verdicts.c.root == _the("root"),
        verdicts.c.sha256 == _the("sha256"),
        verdicts.c.state.in_((VerdictState.RESTORING, VerdictState.RESTORED)),
        (verdicts.c.path == _the("path")) | (verdicts.c.restored_to == _the("path")),
    )
    .limit(1)
)
_others = _the("others", expanding=True, type_=sa.Text)
DISMISSED = sa.select(dismissals.c.one, dismissals.c.other).where(
    ((dismissals.c.one == _the("sha256")) & dismissals.c.other.in_(_others))
    | ((dismissals.c.other == _the("sha256")) & dismissals.c.one.in_(_others))
)
DISMISS = insert(dismissals).on_conflict_do_nothing()
ADD_MISSING = insert(missed).on_conflict_do_nothing()


def as_seen(file: File) -> dict[str, object]:
    """Return the parameters of REPORT_GONE for a file as it was when a scan missed it."""
    folder, name = split(file.path)
    values = {"id": file.id, "root_id": file.root_id, "folder": folder, "name": name, **identity_columns(file.identity)}
    return {f"the_{column}": value for column, value in values.items()}
