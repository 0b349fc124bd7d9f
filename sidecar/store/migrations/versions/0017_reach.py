"""It is kept when Microsoft is to call a webhook address next, how often that failed in a row, and what people are told.

Also when a room was last tied to another mailbox than it was mapped to.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision: str | None = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("webhook_urls", sa.Column("call_due_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("webhook_urls", sa.Column("failures_count", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("webhook_urls", sa.Column("problem", text, nullable=True))
    op.add_column("rooms", sa.Column("readdressed_at", sa.BigInteger(), nullable=True))
