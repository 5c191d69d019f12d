"""What is counted, or asked for all the time, is found without looking at every file."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("files_found", "files", ["queue"], sqlite_where=sa.text("queue = 'found'"))
    op.create_index("files_state", "files", ["state", "content_id"])
