"""Rooms are found by the address that their callers gave, too: for each mapping, among thousands of rooms."""

from collections.abc import Sequence

from alembic import op

revision = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("rooms_by_given_key", "rooms", ["tenant_uid", "given_key"])
