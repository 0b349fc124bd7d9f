"""Where each room's next look for changes begins, and which of its bookings are kept until a second read agrees.

Rooms begin without a link; their next full read brings one.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns and the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("rooms", sa.Column("delta_link", text, nullable=True))
    # The window that the link is bound to: a version that knows no links may move the horizon and leave the link behind.
    op.add_column("rooms", sa.Column("delta_start_at", sa.BigInteger(), nullable=True))
    op.add_column("rooms", sa.Column("delta_end_at", sa.BigInteger(), nullable=True))
    op.add_column("rooms", sa.Column("no_delta_until_at", sa.BigInteger(), nullable=True))
    op.add_column("rooms", sa.Column("news_at", sa.BigInteger(), nullable=True))
    op.add_column("rooms", sa.Column("hold_problem", text, nullable=True))
    op.create_table(
        "held_bookings",
        sa.Column("room_uid", text, nullable=False),
        sa.Column("booking_key", text, nullable=False),
        sa.Column("held_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_uid", "booking_key"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
