"""Rooms are found by the address that their callers gave, too, and it is kept which time zone nobody gave but Microsoft told.

The index is for each mapping, among thousands of rooms.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the index and the column."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.create_index("rooms_by_given_key", "rooms", ["tenant_uid", "given_key"])
    op.add_column("rooms", sa.Column("told_zone", text, nullable=True))
