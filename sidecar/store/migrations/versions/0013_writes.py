"""Writes to Exchange on their way.

`sealed` holds what was asked for, until the write ends; `failure` why it failed; `hold` says how what it makes is
told until it ends. A write is found by the request id of its
caller, and by its room as long as it has not ended.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.create_table(
        "writes",
        sa.Column("uid", text, nullable=False),
        sa.Column("tenant_uid", text, nullable=False),
        sa.Column("room_uid", text, nullable=False),
        sa.Column("request_id", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("hold", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("event_id", text, nullable=True),
        sa.Column("event_created_at", sa.BigInteger(), nullable=True),
        sa.Column("booking_key", text, nullable=True),
        sa.Column("failure", text, nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uid"),
        sa.UniqueConstraint("tenant_uid", "request_id"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
    )
    op.create_index("writes_by_room", "writes", ["room_uid", "state"])
    op.create_index("writes_by_age", "writes", ["tenant_uid", "updated_at"])
