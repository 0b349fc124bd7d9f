"""Runs of chores that somebody asked for, and the pieces of work that each still waits for.

A piece waits for the end of a run of its intent that began after it was asked for: `generation` is the intent's from then, or a
later one. `intents.watched` says that some piece waits for it, so that all other work ends without looking.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision: str | None = "0019"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables and the column."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # as all texts: by their bytes
    op.create_table(
        "task_runs",
        sa.Column("uid", text, nullable=False),
        sa.Column("task", text, nullable=False),
        sa.Column("owner", text, nullable=False),
        sa.Column("tenant_uid", text, nullable=True),
        sa.Column("room_id", text, nullable=True),
        sa.Column("request_id", text, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("problems", text, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uid"),
        sa.UniqueConstraint("owner", "request_id"),
        sa.ForeignKeyConstraint(["tenant_uid"], ["tenants.uid"], ondelete="CASCADE"),
    )
    op.create_index("task_runs_by_tenant", "task_runs", ["tenant_uid", "uid"])
    op.create_table(
        "task_run_items",
        sa.Column("kind", text, nullable=False),
        sa.Column("key", text, nullable=False),
        sa.Column("run_uid", text, nullable=False),
        sa.Column("lane", text, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "run_uid"),
        sa.ForeignKeyConstraint(["run_uid"], ["task_runs.uid"], ondelete="CASCADE"),
    )
    op.create_index("task_run_items_by_run", "task_run_items", ["run_uid"])
    op.create_index("task_run_items_by_lane", "task_run_items", ["lane"])
    op.add_column("intents", sa.Column("watched", sa.Integer(), nullable=False, server_default="0"))
