"""What watching or judging has to look at again is found by an index of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("files_noticed", "files", ["queue"], sqlite_where=sa.text("queue IN ('settle', 'gone')"))
