"""Which calendar a room is tied to, by number, and the address that its caller gave where Microsoft has another one since.

Rooms begin with their first calendar; the address that is shown is the one that was given.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the columns. A version that does not know them may go on mapping rooms meanwhile: hence the default."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("rooms", sa.Column("calendar_no", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("rooms", sa.Column("given_key", text, nullable=True))
