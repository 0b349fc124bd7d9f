"""What the steps of all changes share: where a write takes place, and how its end reaches the copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.aio.clock import Clock
from sidecar.errors import GraphUnavailable, RoomNotFound
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.change import Cause
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan, Scope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.model.write import Write
from sidecar.store.engine import Connection
from sidecar.store.store import Store
from sidecar.store.write_steps import Step
from sidecar.sync.plan import plan_hinted
from sidecar.sync.reading import Found, RoomReader
from sidecar.writes.driver import Work

_TURN_S = 0.25
_TURNS_MAX = 60
"""How often a change looks whether another one of the same booking has ended: for a quarter of a minute."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a write takes place."""

    room: Room
    tenant: Tenant


async def ground_of(store: Store, write: Write) -> Ground:
    """Return where a write takes place.

    Raises:
        RoomNotFound: it was unmapped meanwhile.
    """
    room = await store.rooms.load_by_uid(write.room_uid)
    if room is None:
        raise RoomNotFound("there is no such room")
    return Ground(room, await store.tenants.load_by_uid(write.tenant_uid))


class Endings:
    """Begins and ends the steps of changes."""

    def __init__(self, *, store: Store, reading: RoomReader, clock: Clock) -> None:
        self._store = store
        self._reading = reading
        self._clock = clock

    async def ground(self, write: Write) -> Ground:
        """See `ground_of`."""
        return await ground_of(self._store, write)

    async def has_waited(self, work: Work, event_id: EventId) -> bool:
        """Wait for other writes that are half-way with an event or its series; say whether there were any.

        What was read of the event may be what they take back, and what they look at is where they put it. So whoever has waited
        reads again.

        Raises:
            GraphUnavailable: they do not end.
        """
        for turn in range(_TURNS_MAX):
            if not await self._store.writes.is_other_first(work.write, event_id):
                return turn > 0
            await self._clock.sleep(_TURN_S)
        raise GraphUnavailable("another change of the booking is under way")

    async def taken(
        self, ground: Ground, window: Window, *, besides: Collection[EventId]
    ) -> tuple[Sequence[Window], Sequence[Window]]:
        """Return when the copy says that the room is taken; see `Calendars.load_taken`."""
        return await self._store.calendars.load_taken(ground.room.uid, window, besides=besides)

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
        also: Step | None = None,
        **changes: Any,
    ) -> None:
        """Note how far a write has come, and have the copy show it, in one transaction (Any: fields of `Write`).

        Args:
            found: what the events are now.
            cause: why bookings that are gone are.
            also: what else belongs into the transaction.
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
            lambda step: self._store.calendars.apply(
                ground.room, plan, lease=None, scope=scope, step=step if also is None else both(step, also)
            ),
            **changes,
        )


def both(first: Step, second: Step) -> Step:
    """Return what does two things in one transaction."""

    async def run(c: Connection) -> None:
        await first(c)
        await second(c)

    return run


def first_of(bookings: Sequence[Booking]) -> BookingKey | None:
    """Return the key of the booking that comes first; None when there is none."""
    first = min(bookings, key=lambda booking: (booking.start_at, booking.key), default=None)
    return None if first is None else first.key
