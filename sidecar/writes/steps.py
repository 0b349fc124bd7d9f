"""What the steps of all changes share: where a write takes place, and how its end reaches the copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.errors import RoomNotFound
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.change import Cause
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan, Scope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.write import Write
from sidecar.store.store import Store
from sidecar.sync.plan import plan_hinted
from sidecar.sync.reading import Found, RoomReader
from sidecar.writes.driver import Work


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a write takes place."""

    room: Room
    tenant: Tenant


class Endings:
    """Begins and ends the steps of changes."""

    def __init__(self, *, store: Store, reading: RoomReader) -> None:
        self._store = store
        self._reading = reading

    async def ground(self, write: Write) -> Ground:
        """Return where a write takes place.

        Raises:
            RoomNotFound: it was unmapped meanwhile.
        """
        room = await self._store.rooms.load_by_uid(write.room_uid)
        if room is None:
            raise RoomNotFound("there is no such room")
        return Ground(room, await self._store.tenants.load_by_uid(write.tenant_uid))

    async def read(self, ground: Ground, event_ids: Sequence[EventId]) -> Found:
        """Read what events are now. A room that was never read as a whole has nothing to compare them with."""
        horizon = ground.room.horizon
        if horizon is None:
            return Found(bookings=(), gone=frozenset(), series=frozenset(), broken=frozenset())
        return await self._reading.events(ground.room, ground.tenant, event_ids, horizon)

    async def note(
        self,
        work: Work,
        ground: Ground,
        event_ids: Sequence[EventId],
        found: Found,
        *,
        cause: Cause = Cause.DELETED,
        **changes: Any,
    ) -> None:
        """Note how far a write has come, and have the copy show it, in one transaction (Any: fields of `Write`).

        Args:
            found: what the events are now.
            cause: why bookings that are gone are.
        """
        horizon = ground.room.horizon

        def plan(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
            if horizon is None:
                return RoomPlan()
            told = plan_hinted(
                stored,
                found.bookings,
                horizon,
                gone_events=found.gone,
                read_series=found.series,
                broken_events=found.broken,
            )
            removals = tuple(replace(one, cause=cause) if one.cause is Cause.DELETED else one for one in told.removals)
            return replace(told, removals=removals)

        scope = Scope(
            event_ids=tuple(sorted({*event_ids, *found.gone, *found.series})),
            keys=tuple(booking.key for booking in found.bookings),
        )
        await work.note_with(
            lambda step: self._store.calendars.apply(ground.room, plan, lease=None, scope=scope, step=step), **changes
        )


def first_of(bookings: Sequence[Booking]) -> BookingKey | None:
    """Return the key of the booking that comes first; None when there is none."""
    first = min(bookings, key=lambda booking: (booking.start_at, booking.key), default=None)
    return None if first is None else first.key
