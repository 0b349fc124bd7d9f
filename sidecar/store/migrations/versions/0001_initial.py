"""The first schema.

Instants are microseconds since 1970 in UTC, so that both databases compare them the same way. Texts sort by their bytes on
both, whatever language a PostgreSQL was made for: pages go on after the last id, and indexes survive a new system library.
`tenants.revision` is the number of the last entry of a tenant's log: whoever holds the tenant's row decides the order.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    """A text column."""
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null, server_default=default)


def number(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    """A whole number or an instant."""
    return sa.Column(name, sa.BigInteger(), nullable=null, server_default=default)


def blob(name: str) -> sa.Column[bytes]:
    """Bytes."""
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def upgrade() -> None:
    """Make all tables."""
    op.create_table("meta", text("key"), text("value"), sa.PrimaryKeyConstraint("key"))
    op.create_table(
        "tenants",
        text("uid"),
        text("tenant_id"),
        text("display_name"),
        text("directory_id"),
        text("cloud"),
        text("problem", null=True),
        number("verified_at", null=True),
        number("deleted_at", null=True),
        number("version"),
        number("revision"),
        number("floor", default="0"),
        number("created_at"),
        number("updated_at"),
        sa.PrimaryKeyConstraint("uid"),
        sa.UniqueConstraint("tenant_id"),
    )
    op.create_table(
        "credentials",
        text("tenant_uid"),
        text("role"),
        text("application_id"),
        text("kind"),
        blob("sealed"),
        text("fingerprint"),
        number("expires_at", null=True),
        number("proven_at", null=True),
        sa.PrimaryKeyConstraint("tenant_uid", "role"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
    )
    op.create_table(
        "rooms",
        text("uid"),
        text("tenant_uid"),
        text("room_id"),
        text("mailbox"),
        text("mailbox_key"),
        text("object_id", null=True),
        text("display_name"),
        text("time_zone"),
        number("capacity"),
        text("annotations"),
        text("problem", null=True),
        text("subscription_problem", null=True),
        number("horizon_start_at", null=True),
        number("horizon_end_at", null=True),
        number("fresh_as_of_at", null=True),
        number("drift_count", default="0"),
        number("resyncs", default="0"),
        number("version"),
        number("created_at"),
        number("updated_at"),
        sa.PrimaryKeyConstraint("uid"),
        sa.UniqueConstraint("tenant_uid", "room_id"),
        sa.UniqueConstraint("tenant_uid", "mailbox_key"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
    )
    op.create_table(
        "bookings",
        text("room_uid"),
        text("key"),
        text("tenant_uid"),
        number("start_at"),
        number("end_at"),
        number("takes_room"),
        text("event_id"),
        text("master_id", null=True),
        text("change_key"),
        blob("digest"),
        blob("body"),
        number("revision"),
        sa.PrimaryKeyConstraint("room_uid", "key"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("bookings_by_room_start", "bookings", ["room_uid", "start_at", "key"])
    op.create_index("bookings_by_tenant_start", "bookings", ["tenant_uid", "start_at", "room_uid", "key"])
    op.create_index("bookings_by_event", "bookings", ["room_uid", "event_id"])
    op.create_index("bookings_by_master", "bookings", ["room_uid", "master_id"])
    op.create_table(
        "changes",
        text("tenant_uid"),
        number("revision"),
        text("room_uid"),
        number("kind"),
        number("cause"),
        text("booking_key", null=True),
        blob("body"),
        number("recorded_at"),
        sa.PrimaryKeyConstraint("tenant_uid", "revision"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("changes_by_room", "changes", ["room_uid", "revision"])
    op.create_table(
        "subscriptions",
        text("key"),
        text("room_uid", null=True),
        text("tenant_uid"),
        text("directory_id"),
        blob("secret_hash"),
        text("graph_id", null=True),
        number("expires_at", null=True),
        number("renew_at", null=True),
        text("url"),
        number("created_at"),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("room_uid"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
    )
    op.create_table(
        "hints",
        text("room_uid"),
        text("event_id"),
        number("generation"),
        sa.PrimaryKeyConstraint("room_uid", "event_id"),
        sa.ForeignKeyConstraint(["room_uid"], ["rooms.uid"], ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "intents",
        text("kind"),
        text("key"),
        text("lane"),
        number("priority"),
        number("ready_at"),
        number("first_marked_at", null=True),
        number("held_until", default="0"),
        number("generation"),
        number("attempts"),
        text("last_error", null=True),
        sa.PrimaryKeyConstraint("kind", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("intents_by_lane", "intents", ["lane", "priority", "ready_at"])
    op.create_index("intents_by_time", "intents", ["ready_at", "lane"])
    op.create_table(
        "lanes",
        text("lane"),
        text("owner", null=True),
        number("lease_until", default="0"),
        number("fence", default="0"),
        sa.PrimaryKeyConstraint("lane"),
    )
