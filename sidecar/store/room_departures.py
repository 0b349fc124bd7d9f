"""What follows when a room leaves its calendar: watchers are told, and its subscriptions are left to be removed.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from datetime import datetime

from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.store import journal, rows
from sidecar.store.departing import BodyStamper, load_departing
from sidecar.store.engine import Connection


async def log_departure(
    c: Connection, room: Room, stamper: BodyStamper, *, cause: Cause, tells_each: bool, last: journal.Entry
) -> None:
    """Write that a room's bookings are no longer what is watched, and an entry about the room itself after them.

    Args:
        tells_each: each booking that takes the room is an entry of its own; else `last` alone speaks for all of them.
    """
    taken = []
    if tells_each:
        query = "SELECT key, body FROM bookings WHERE room_uid = $1 AND takes_room = 1 ORDER BY key"
        taken = list(await c.fetch(query, room.uid))
    depart = await load_departing(c, room.tenant_uid, stamper)
    after_revision = await journal.take_revisions(c, room.tenant_uid, len(taken) + 1)
    entries = [
        journal.Entry(
            room.uid,
            ChangeKind.LEFT_SCOPE,
            cause,
            BookingKey(key),
            depart(bytes(body), revision),
        )
        for revision, (key, body) in enumerate(taken, after_revision + 1)
    ]
    await journal.append(c, room.tenant_uid, [*entries, last], after_revision=after_revision)


async def abandon_subscriptions(c: Connection, room: Room) -> datetime | None:
    """Leave a room's subscriptions, the current one and any beside it, to be deleted at Graph.

    Returns:
        When the last of those that Graph has runs out by itself; None: it has none.
    """
    of_room = "room_uid = $1 OR beside_room_uid = $1"
    found = await c.fetch(
        f"SELECT key, expires_at FROM subscriptions WHERE {of_room} ORDER BY key",  # noqa: S608  (ours)
        room.uid,
    )
    await c.execute(f"UPDATE subscriptions SET room_uid = NULL, beside_room_uid = NULL WHERE {of_room}", room.uid)  # noqa: S608
    for row in found:
        kind = IntentKind.SUBSCRIPTION_REMOVE
        await journal.mark(c, kind, str(row[0]), room.tenant_uid, priority=Priority.REPAIR)
    return rows.instant(max((int(row[1]) for row in found if row[1] is not None), default=None))
