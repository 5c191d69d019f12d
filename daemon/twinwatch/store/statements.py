"""The SQL that is run for every file, built once: to build a statement takes longer than SQLite takes to answer it.

`catalog` and `cases` run it; what is asked for seldom is built there. Parameters have names that no column has where
they could be taken for what a column is set to.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from twinwatch.store.tables import ORIGINAL, PRESENT, contents, dismissals, embeddings, files, verdicts

_the = sa.bindparam

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
    files.c.state != "quarantined",
)
HOLDERS = (
    sa.select(files)
    .where(files.c.content_id.in_(_the("content_ids", expanding=True)), sa.text(ORIGINAL))
    .order_by(files.c.state == "duplicate", files.c.kept_ns, files.c.id)
)
SET_FILE = sa.update(files).where(files.c.id == _the("the_id"))

_queued = ("queue", "arrived_ns", "device", "inode", "size_bytes", "mtime_ns", "ctime_ns", "links")
_new = insert(files)
# One statement, as events and a scan may name the same new file at the same time, each in a thread of its own.
ENQUEUE = _new.on_conflict_do_update(
    index_elements=["root_id", "folder", "name"],
    index_where=sa.text(PRESENT),
    set_={name: _new.excluded[name] for name in _queued},
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

VERDICTS_OF = (
    sa.select(verdicts)
    .where(verdicts.c.file_id.in_(_the("file_ids", expanding=True)))
    .order_by(verdicts.c.time, verdicts.c.id)
)
PUT_BACK = (
    sa.select(verdicts.c.id)
    .where(
        verdicts.c.root == _the("root"),
        verdicts.c.sha256 == _the("sha256"),
        verdicts.c.state.in_(("restoring", "restored")),
        (verdicts.c.path == _the("path")) | (verdicts.c.restored_to == _the("path")),
    )
    .limit(1)
)
_others = _the("others", expanding=True, type_=sa.Text)
DISMISSED = sa.select(dismissals.c.one, dismissals.c.other).where(
    ((dismissals.c.one == _the("sha256")) & dismissals.c.other.in_(_others))
    | ((dismissals.c.other == _the("sha256")) & dismissals.c.one.in_(_others))
)
