"""What occupies many rooms during a window, in one read and three queries however many rooms there are.

The queries are answered from an index alone: bookings themselves, which are large, are never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sidecar.model.ids import RoomId, RoomUid, TenantId
from sidecar.model.room import Room
from sidecar.model.window import Window, from_micros, to_micros
from sidecar.store import rows
from sidecar.store.engine import Connection, Engine, Row, padded, places
from sidecar.store.rooms import load_tenant_uid
from sidecar.store.write_steps import ENDED

_KNOWN_MAX = 20_000
"""Rooms kept in memory; a kilobyte or two each."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Rooms, and the starts and ends of what takes each of them, by uid and in no order, all as of one moment.

    `is_cut` means that there was more than was to be read: then nothing may be concluded.
    """

    rooms: Sequence[Room]
    busy: dict[RoomUid, list[tuple[datetime, datetime]]]
    is_cut: bool


class Occupancies:
    """Reads what occupies rooms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[Row, Room]] = {}

    async def load(
        self,
        tenant_id: TenantId,
        room_ids: Sequence[RoomId] | None,
        window: Window,
        *,
        rooms_max: int,
        bookings_max: int,
    ) -> Occupancy:
        """Return what takes rooms of a tenant during a window.

        Args:
            room_ids: None: all rooms. Those that are not mapped are left out of the answer.
            rooms_max, bookings_max: no more is read than one above these; `is_cut` then.
        Returns:
            The rooms by id.
        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> Occupancy:
            tenant_uid = await load_tenant_uid(c, tenant_id)
            if room_ids is not None and not room_ids:
                return Occupancy((), {}, False)
            ids = padded(room_ids or ())
            wanted = f" AND r.room_id IN ({places(ids, first=3)})" if ids else ""
            found = await c.fetch(
                f"{rows.ROOM} WHERE r.tenant_uid = $1{wanted} ORDER BY r.room_id LIMIT $2",
                tenant_uid,
                rooms_max + 1,
                *ids,
            )
            rooms = [self._room(row, now=c.now) for row in found]
            if len(rooms) > rooms_max:
                return Occupancy(rooms, {}, True)
            taken = await _busy(c, rooms, window, bookings_max + 1) if rooms else ()
            busy: dict[RoomUid, list[tuple[datetime, datetime]]] = {room.uid: [] for room in rooms}
            for room_uid, start_at, end_at in taken:
                busy[room_uid].append((_instant(start_at), _instant(end_at)))
            return Occupancy(rooms, busy, len(taken) > bookings_max)

        return await self._engine.read(run)

    def _room(self, row: Row, *, now: datetime) -> Room:
        """Return the room of a row of `rows.ROOM`, the very one as before for a row that is as before.

        Rows change when a room was checked, so of hundreds of rooms few differ from one call to the next, and making a room
        takes as long as everything else that is done for it. Called by one thread at a time.
        """
        row_before, before = self._known.get(row[0], (None, None))
        if before is not None and row_before == row:
            ends_at = before.subscribed_until_at
            if before.is_subscribed == (ends_at is not None and ends_at > now):
                return before
        room = rows.room_from_row(row, now=now)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[row[0]] = (row, room)
        return room

    async def load_unsettled(self, room_uids: Sequence[RoomUid]) -> dict[RoomUid, list[tuple[datetime, datetime]]]:
        """Return what the copy holds of writes that have not ended: rooms' own calendars may not show it yet."""

        async def run(c: Connection) -> dict[RoomUid, list[tuple[datetime, datetime]]]:
            uids = padded(room_uids)
            found: dict[RoomUid, list[tuple[datetime, datetime]]] = {}
            for same in ("b.key = w.booking_key", "b.master_id = w.event_id"):
                for room_uid, start_at, end_at in await c.fetch(
                    "SELECT b.room_uid, b.start_at, b.end_at FROM writes w"  # noqa: S608  (ours)
                    f" JOIN bookings b ON b.room_uid = w.room_uid AND {same} AND b.takes_room = 1"
                    f" WHERE w.room_uid IN ({places(uids, first=1)}) AND w.state NOT IN ({ENDED})",
                    *uids,
                ):
                    found.setdefault(RoomUid(room_uid), []).append((_instant(start_at), _instant(end_at)))
            return found

        return await self._engine.read(run) if room_uids else {}


async def _busy(c: Connection, rooms: Sequence[Room], window: Window, limit: int) -> Sequence[Row]:
    uids = padded([room.uid for room in rooms])
    return await c.fetch(
        "SELECT room_uid, start_at, end_at FROM bookings"  # noqa: S608  (ours)
        f" WHERE room_uid IN ({places(uids, first=4)}) AND start_at < $1 AND end_at > $2 AND takes_room = 1"
        " LIMIT $3",
        to_micros(window.end_at),
        to_micros(window.start_at),
        limit,
        *uids,
    )


@lru_cache(maxsize=8_192)
def _instant(micros: int) -> datetime:
    """Return an instant; in many rooms meetings begin and end at the same ones."""
    return from_micros(micros)
