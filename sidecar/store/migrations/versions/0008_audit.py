"""Who changed what, and when. Bound to no tenant: an entry outlives what it is about."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    names = ("tenant_id", "method", "resource", "caller", "outcome", "fields", "details")
    op.create_table(
        "audit",
        sa.Column("id", text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, text, nullable=False) for name in names),
        sa.Column("is_refused", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("audit_by_tenant", "audit", ["tenant_id", "id"])
    op.create_index("audit_by_kind", "audit", ["is_refused", "id"])
