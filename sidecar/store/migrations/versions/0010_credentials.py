"""A tenant may have a credential that is next and one that was used before, beside the one in use.

`added_at`, `refused_at`, `problem`, `request_id` belong to one that is next, `ends_at` to one that was used before;
`read_room` is the room that was read as proof.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add what roles need; credentials that are there stay what they are, the current ones."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    for name in ("added_at", "refused_at", "ends_at"):
        op.add_column("credentials", sa.Column(name, sa.BigInteger(), nullable=True))
    for name in ("problem", "read_room", "request_id"):
        op.add_column("credentials", sa.Column(name, text, nullable=True))
