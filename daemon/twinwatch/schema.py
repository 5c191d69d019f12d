"""The catalogue's tables. Alembic's migrations create them; a test holds both to be the same."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Paths are bytes: a Linux name need not be text. Times end in _ns where they are numbers, RFC 3339 where they are text.
# A root is a folder, not a path: what is mounted over it, or made in its place, is another root.
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
# What a sequence of bytes holds, whichever files have it; `reason` says why it is no picture.
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
# state: new, kept, duplicate, restored, link, unreadable; gone and quarantined ones have left their path.
# queue: found (waits for the first scan to end), waiting (to be judged), or null.
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
        sqlite_where=sa.text("state NOT IN ('gone', 'quarantined')"),
    ),
    sa.Index(
        "files_queue",
        sa.text("standing DESC"),
        "arrived_ns",
        "folder",
        "name",
        sqlite_where=sa.text("queue = 'waiting'"),
    ),
)
# state: pending, done, restoring, restored, dismissed; logged: the last event of it that the duplicates log holds.
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
    sa.Index("verdicts_state", "state", "logged"),
)
# Pairs of contents that a person called no duplicates; one <= other.
dismissals = sa.Table(
    "dismissals",
    metadata,
    sa.Column("one", sa.Text, primary_key=True),
    sa.Column("other", sa.Text, primary_key=True),
    sa.Column("time", sa.Text, nullable=False),
)
