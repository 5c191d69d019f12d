"""The first catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "roots",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.LargeBinary, nullable=False),
        sa.Column("device", sa.Integer, nullable=False),
        sa.Column("inode", sa.Integer, nullable=False),
        sa.Column("watched_ns", sa.Integer, nullable=False),
        sa.Column("latched", sa.Text),
        sa.Column("latched_at", sa.Text),
        sa.UniqueConstraint("path", "device", "inode"),
    )
    op.create_table(
        "contents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False, unique=True),
        sa.Column("size_bytes", sa.Integer, nullable=False, index=True),
        sa.Column("reason", sa.Text),
        sa.Column("width", sa.Integer, nullable=False, server_default="0"),
        sa.Column("height", sa.Integer, nullable=False, server_default="0"),
        sa.Column("format", sa.Text, nullable=False, server_default=""),
        sa.Column("blank", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "embeddings",
        sa.Column("content_id", sa.Integer, sa.ForeignKey("contents.id"), primary_key=True),
        sa.Column("bundle_id", sa.Text, primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "files",
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
    )
    op.create_index("files_inode", "files", ["inode", "device"])
    op.create_index(
        "files_path",
        "files",
        ["root_id", "folder", "name"],
        unique=True,
        sqlite_where=sa.text("state NOT IN ('gone', 'quarantined')"),
    )
    op.create_index(
        "files_queue",
        "files",
        [sa.text("standing DESC"), "arrived_ns", "folder", "name"],
        sqlite_where=sa.text("queue = 'waiting'"),
    )
    op.create_table(
        "verdicts",
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
    )
    op.create_index("verdicts_state", "verdicts", ["state", "logged"])
    op.create_table(
        "dismissals",
        sa.Column("one", sa.Text, primary_key=True),
        sa.Column("other", sa.Text, primary_key=True),
        sa.Column("time", sa.Text, nullable=False),
    )
