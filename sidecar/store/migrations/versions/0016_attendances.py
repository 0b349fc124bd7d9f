"""What we know of bookings ourselves: who came, and from when on the room was given back.

By the booking's key and not in its row: a row goes and comes back with what Exchange says.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.create_table(
        "attendances",
        sa.Column("room_uid", text, nullable=False),
        sa.Column("booking_key", text, nullable=False),
        sa.Column("check_in_at", sa.BigInteger(), nullable=True),
        sa.Column("check_in_by", text, nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_uid", "booking_key"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
