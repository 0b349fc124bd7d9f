"""What the caller of a write is told beyond its booking: of a changed series, what was lost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision: str | None = "0017"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("writes", sa.Column("answer", sa.LargeBinary(), nullable=True))
