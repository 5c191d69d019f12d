"""When a verdict was restored or dismissed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("event_at", sa.Text))
    # A dismissal's time is known from its pair; of earlier restores only the quarantine's records tell the time.
    op.execute(
        """UPDATE verdicts SET event_at = (
            SELECT dismissals.time FROM dismissals
            WHERE one = min(sha256, original_sha256) AND other = max(sha256, original_sha256)
        ) WHERE state = 'dismissed'"""
    )
