"""Bookings may lie in people's calendars.

`tenants.write_mode`: in whose calendar bookings are written; missing: the room's own. `organizer_events`: where each event is
that lies in a person's calendar; `meeting_uid` is what all occurrences of it have in common, `sealed` holds the person's
address, `over_at` says when its last time is over (missing: never).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column and the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("tenants", sa.Column("write_mode", sa.BigInteger(), nullable=True))
    op.create_table(
        "organizer_events",
        sa.Column("room_uid", text, nullable=False),
        sa.Column("meeting_uid", text, nullable=False),
        sa.Column("tenant_uid", text, nullable=False),
        sa.Column("write_uid", text, nullable=False),
        sa.Column("event_id", text, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("annotations", text, nullable=False),
        sa.Column("over_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("room_uid", "meeting_uid"),
        sa.UniqueConstraint("write_uid"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
    )
    op.create_index("organizer_events_by_age", "organizer_events", ["tenant_uid", "over_at"])
