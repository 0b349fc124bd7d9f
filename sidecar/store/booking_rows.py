"""The rows of bookings: the pieces that `calendars` makes its transactions of.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.model.booking import StoredBooking
from sidecar.model.ids import BookingKey, EventId, RoomUid
from sidecar.model.plan import Removal, Scope, Touch, Upsert
from sidecar.model.room import Room
from sidecar.model.window import from_micros, to_micros
from sidecar.store.engine import Connection

_STORED = "SELECT key, event_id, master_id, change_key, start_at, end_at, takes_room, digest FROM bookings"


async def load_stored(c: Connection, room_uid: RoomUid, scope: Scope | None) -> dict[BookingKey, StoredBooking]:
    """Return what is stored of a room's bookings: all, or those that a scope is about."""
    if scope is None:
        found = list(await c.fetch(f"{_STORED} WHERE room_uid = $1", room_uid))
    else:
        found = []
        for event_id in scope.event_ids:
            found += await c.fetch(f"{_STORED} WHERE room_uid = $1 AND event_id = $2", room_uid, event_id)
            found += await c.fetch(f"{_STORED} WHERE room_uid = $1 AND master_id = $2", room_uid, event_id)
        for key in scope.keys:
            found += await c.fetch(f"{_STORED} WHERE room_uid = $1 AND key = $2", room_uid, key)
    return {
        BookingKey(row[0]): StoredBooking(
            key=BookingKey(row[0]),
            event_id=EventId(row[1]),
            master_id=None if row[2] is None else EventId(row[2]),
            change_key=row[3],
            start_at=from_micros(row[4]),
            end_at=from_micros(row[5]),
            takes_room=bool(row[6]),
            digest=bytes(row[7]),
        )
        for row in found
    }


async def save_bookings(c: Connection, room: Room, written: Sequence[tuple[Upsert, int, bytes]]) -> None:
    """Write bookings with their revisions and encoded bodies."""
    await c.execute_many(
        "INSERT INTO bookings (room_uid, key, tenant_uid, start_at, end_at, takes_room, event_id, master_id, change_key,"
        " digest, body, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        " ON CONFLICT (room_uid, key) DO UPDATE SET start_at = $4, end_at = $5, takes_room = $6, event_id = $7,"
        " master_id = $8, change_key = $9, digest = $10, body = $11, revision = $12",
        [
            (
                room.uid,
                upsert.booking.key,
                room.tenant_uid,
                to_micros(upsert.booking.start_at),
                to_micros(upsert.booking.end_at),
                int(upsert.booking.state.takes_room),
                upsert.booking.event_id,
                upsert.booking.master_id,
                upsert.booking.change_key,
                upsert.digest,
                body,
                revision,
            )
            for upsert, revision, body in written
        ],
    )


async def drop_bookings(c: Connection, room_uid: RoomUid, removals: Sequence[Removal]) -> None:
    """Drop bookings."""
    await c.execute_many(
        "DELETE FROM bookings WHERE room_uid = $1 AND key = $2", [(room_uid, removal.key) for removal in removals]
    )


async def touch_bookings(c: Connection, room_uid: RoomUid, touches: Sequence[Touch]) -> None:
    """Note Graph's new ids of bookings that callers see unchanged."""
    await c.execute_many(
        "UPDATE bookings SET event_id = $3, master_id = $4, change_key = $5 WHERE room_uid = $1 AND key = $2",
        [(room_uid, touch.key, touch.event_id, touch.master_id, touch.change_key) for touch in touches],
    )
