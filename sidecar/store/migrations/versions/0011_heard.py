"""When Exchange last called about a subscription is kept, to the minute: with a change, and for maintenance."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns."""
    for name in ("notified_at", "lifecycle_at"):
        op.add_column("subscriptions", sa.Column(name, sa.BigInteger(), nullable=True))
