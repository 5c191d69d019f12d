"""The catalogue's tables. Alembic's migrations make them too; a test holds both the same."""

from __future__ import annotations

import sqlalchemy as sa

# Conditions of the partial indexes. A query has to repeat one word for word, or SQLite does not use its index.
PRESENT = "state NOT IN ('gone', 'quarantined')"
ORIGINAL = "state IN ('kept', 'duplicate', 'restored')"
FOUND = "queue = 'found'"
WAITING = "queue = 'waiting'"
NOTICED = "queue IN ('settle', 'gone')"

HEAD = "0005"
"""The latest of the migrations."""

metadata = sa.MetaData()

# Paths are bytes: a Linux name need not be text. Times are numbers where the name ends in _ns, else RFC 3339.
# A root is a folder, not a path: a folder that is mounted over it, or made in its place, is another root.
roots = sa.Table(
    "roots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("device", sa.Integer, nullable=False),
    sa.Column("inode", sa.Integer, nullable=False),
    sa.Column("watched_ns", sa.Integer, nullable=False),
    sa.Column("latched", sa.Text),
    sa.Column("latched_at", sa.Text),
    sa.UniqueConstraint("path", "device", "inode"),
)
# What a sequence of bytes holds, whichever files have it. `reason` says why it is no picture. `blank`: its pixels must
# not be compared, as it is uniform, or has several frames or pages.
contents = sa.Table(
    "contents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.Integer, nullable=False, index=True),
    sa.Column("reason", sa.Text),
    sa.Column("width", sa.Integer, nullable=False, server_default="0"),
    sa.Column("height", sa.Integer, nullable=False, server_default="0"),
    sa.Column("format", sa.Text, nullable=False, server_default=""),
    sa.Column("blank", sa.Boolean, nullable=False, server_default=sa.false()),
)
embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("content_id", sa.Integer, sa.ForeignKey("contents.id"), primary_key=True),
    sa.Column("bundle_id", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
# state: FileState. queue: QueueState, or null. standing: there before the root was first watched. kept_ns: when the
# present content was judged.
files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.Integer, sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("folder", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.LargeBinary, nullable=False),
    sa.Column("device", sa.Integer, nullable=False),
    sa.Column("inode", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("ctime_ns", sa.Integer, nullable=False),
    sa.Column("links", sa.Integer, nullable=False),
    sa.Column("content_id", sa.Integer, sa.ForeignKey("contents.id"), index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("refusal", sa.Text),
    sa.Column("standing", sa.Boolean, nullable=False),
    sa.Column("queue", sa.Text),
    sa.Column("arrived_ns", sa.Integer, nullable=False),
    sa.Column("kept_ns", sa.Integer),
    sa.Index("files_inode", "inode", "device"),
    sa.Index(
        "files_path",
        "root_id",
        "folder",
        "name",
        unique=True,
        sqlite_where=sa.text(PRESENT),
    ),
    sa.Index(
        "files_queue",
        sa.text("standing DESC"),
        "arrived_ns",
        "folder",
        "name",
        sqlite_where=sa.text(WAITING),
    ),
    sa.Index("files_found", "queue", sqlite_where=sa.text(FOUND)),
    sa.Index("files_noticed", "queue", sqlite_where=sa.text(NOTICED)),
    sa.Index("files_state", "state", "content_id"),
)
# state: VerdictState. event_at: when it was restored, dismissed or removed. logged: the last state for which the
# duplicates log has a line.
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("file_id", sa.Integer, sa.ForeignKey("files.id"), index=True),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("original_root", sa.LargeBinary, nullable=False),
    sa.Column("original_path", sa.LargeBinary, nullable=False),
    sa.Column("original_sha256", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("distance", sa.Float),
    sa.Column("cluster", sa.Integer),
    sa.Column("evidence", sa.Float),
    sa.Column("edit", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("better", sa.Boolean, nullable=False),
    sa.Column("quarantined_to", sa.LargeBinary),
    sa.Column("restored_to", sa.LargeBinary),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("logged", sa.Text, nullable=False, server_default=""),
    sa.Column("event_at", sa.Text),
    sa.Index("verdicts_state", "state", "logged"),
)
# Originals that a search did not find in place, and since when copies of them may have been kept.
missed = sa.Table(
    "missed",
    metadata,
    sa.Column("file_id", sa.Integer, primary_key=True),
    sa.Column("since_ns", sa.Integer, nullable=False),
)
# Pairs of contents that a person called no duplicates of each other; one <= other.
dismissals = sa.Table(
    "dismissals",
    metadata,
    sa.Column("one", sa.Text, primary_key=True),
    sa.Column("other", sa.Text, primary_key=True),
    sa.Column("time", sa.Text, nullable=False),
)
