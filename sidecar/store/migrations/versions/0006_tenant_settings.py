"""Tenants have settings of their own.

A missing value means what the server's settings say, a missing `privacy` the default. `hash_key` is the sealed key under
which words and people are hashed. While what stricter settings forbid is being erased, `erasing_since_at` says since when, and
`erase_through` up to which entry the log holds it.
`rooms.read_privacy` is what a room's last full read admitted; missing: the default.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    for name in ("past_days", "future_days", "check_interval_s", "erasing_since_at", "erase_through"):
        op.add_column("tenants", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("privacy", text, nullable=True))
    op.add_column("tenants", sa.Column("hash_key", sa.LargeBinary(), nullable=True))
    op.add_column("rooms", sa.Column("read_privacy", text, nullable=True))
