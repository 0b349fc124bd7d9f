"""Contexts of traces beside the work and the changes that were caused in them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision: str | None = "0018"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns; most rows have nothing in them."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("intents", sa.Column("trace", text, nullable=True))
    op.add_column("changes", sa.Column("trace", text, nullable=True))
