"""A lane that nobody may drain, because nothing may be asked of Microsoft for its tenant.

A hold is a lease that nobody renews and nobody can take. So it needs no word with anybody: every process, also one of an
earlier version, leaves a leased lane alone, and finds nothing due in it, however much is marked there. Whoever drains it
at that moment has lost the lease: it writes nothing any more, and what it has under way is cancelled as soon as it looks.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sidecar.model.ids import TenantUid
from sidecar.model.window import to_micros
from sidecar.store import journal
from sidecar.store.engine import Connection

HOLDER = "held"
"""Owner of a held lane; processes have a colon in their names."""
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)


async def hold(c: Connection, lane: TenantUid, *, until: datetime = FOREVER) -> None:
    """Take a lane from everybody until an instant, whoever has it now."""
    await c.execute(
        "INSERT INTO lanes (lane, owner, lease_until, fence) VALUES ($1, $2, $3, 1)"
        " ON CONFLICT (lane) DO UPDATE SET owner = $2, lease_until = $3, fence = lanes.fence + 1",
        lane,
        HOLDER,
        to_micros(until),
    )
    c.announce(journal.WORK, lane)  # whoever drains it looks, and finds its lease gone


async def lift(c: Connection, lane: TenantUid) -> None:
    """Give a lane free at once. The fence grows, for a drain from before the hold that has not looked since."""
    await c.execute("UPDATE lanes SET owner = NULL, lease_until = 0, fence = fence + 1 WHERE lane = $1", lane)
    c.announce(journal.WORK, lane)


async def is_held(c: Connection, lane: TenantUid) -> bool:
    """Tell whether a hold stands, or has run out and nobody has begun to drain since."""
    row = await c.fetch_one("SELECT owner FROM lanes WHERE lane = $1", lane)
    return row is not None and row[0] == HOLDER
