"""What searches did not find in place is remembered over a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "missed",
        sa.Column("file_id", sa.Integer, primary_key=True),
        sa.Column("since_ns", sa.Integer, nullable=False),
    )
