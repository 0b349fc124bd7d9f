"""A room may have a second subscription beside its current one, while the one replaces the other.

`beside_room_uid` names the room of such a second one: its successor, until Microsoft has answered, or its predecessor, until
it is deleted. `sealed_state` is the client state of one that was asked for and not answered. `webhook_urls` are the
addresses under which this store was ever announced, by which its leftovers at Microsoft are known.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add what an overlap needs, and remember the addresses in use."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.add_column("subscriptions", sa.Column("beside_room_uid", text, nullable=True))
    op.add_column("subscriptions", sa.Column("mailbox", text, nullable=True))
    op.add_column("subscriptions", sa.Column("sealed_state", sa.LargeBinary(), nullable=True))
    op.create_index("subscriptions_by_beside", "subscriptions", ["beside_room_uid"])
    op.create_table(
        "webhook_urls",
        sa.Column("url", text, nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("url"),
    )
    op.execute("INSERT INTO webhook_urls (url, since_at, seen_at) SELECT DISTINCT url, 0, 0 FROM subscriptions")
