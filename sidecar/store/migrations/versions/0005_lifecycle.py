"""Tenants can be suspended, and are kept for a while after their deletion.

A tenant that an earlier version is deleting has no `purge_at`: it is erased at once, as that version promised.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("tenants", sa.Column("suspended_at", sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("suspend_reason", text, nullable=False, server_default=""))
    op.add_column("tenants", sa.Column("purge_at", sa.BigInteger(), nullable=True))
