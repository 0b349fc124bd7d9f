"""When a tenant was last granted access, and which of its rooms cannot be read yet.

The index holds only the rooms that were never read or refuse us, so that counting the others costs no look at them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the table and the index."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.create_table(
        "propagations",
        sa.Column("tenant_uid", text, nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),  # of the watch that goes on; none otherwise
        sa.Column("readable_count", sa.BigInteger(), nullable=False, server_default="0"),  # at the last look
        sa.PrimaryKeyConstraint("tenant_uid"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    # As `store/propagations.py` spells it: a query finds the index by these very words.
    op.execute(
        "CREATE INDEX rooms_unread ON rooms (tenant_uid, updated_at) WHERE horizon_start_at IS NULL"
        ' OR substr(problem, 1, 26) = \'{"reason":"ACCESS_PENDING"\' OR substr(problem, 1, 33) ='
        ' \'{"reason":"MAILBOX_ACCESS_DENIED"\''
    )
