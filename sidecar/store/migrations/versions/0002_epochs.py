"""Each log has its own epoch, so that one can be renewed without the others, and while others read it.

Logs go on in the epoch that they were written in: no reader begins anew because of the upgrade.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Move the epoch from the store to its logs."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("tenants", sa.Column("epoch", text, nullable=False, server_default=""))
    op.add_column("tenants", sa.Column("epoch_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE tenants SET epoch = (SELECT value FROM meta WHERE key = 'epoch')")
    op.execute("DELETE FROM meta WHERE key = 'epoch'")
