"""Reads a room from Exchange, as far as needed, and carries out the plan. One room at a time, by the lane's lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.graph.clouds import TenantRef
from sidecar.graph.events import is_part_of_series, master_id_of, to_booking
from sidecar.graph.wire import GraphEvent
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.intent import Lease
from sidecar.model.plan import Applied, CompleteRead, Scope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window, horizon_at
from sidecar.settings import SyncSettings
from sidecar.store.store import Store
from sidecar.sync.plan import find_missing, plan_compare, plan_hinted
from sidecar.telemetry import Telemetry

log = structlog.get_logger(__name__)


class CalendarReader(Protocol):
    """Reading calendars at Microsoft; `graph.client.GraphClient` is one. Errors are those it names."""

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """Read all events that touch a window."""

    async def fetch_instances(
        self, tenant: TenantRef, mailbox: str, master_id: str, window: Window
    ) -> list[GraphEvent] | None:
        """Read the occurrences of a series; None when it is gone."""

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """Read one event; None when it is gone."""

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """Read a mailbox's object id and zone; None for what may not be known."""


def ref_of(tenant: Tenant) -> TenantRef:
    """Return as much of a tenant as a call to Microsoft needs."""
    return TenantRef(tenant_uid=tenant.uid, directory_id=tenant.directory_id, cloud=tenant.cloud)


def address_of(room: Room) -> str:
    """Return what to call a mailbox by: its object id, which survives a change of address, once it is known."""
    return room.object_id or room.mailbox


class RoomSync:
    """Keeps copies of rooms equal to their calendars."""

    def __init__(
        self, *, store: Store, reader: CalendarReader, clock: Clock, settings: SyncSettings, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._settings = settings
        self._telemetry = telemetry

    async def read_hinted(self, room: Room, tenant: Tenant, *, lease: Lease) -> bool:
        """Read the events that notifications named; False when there are too many and a full read is the better way.

        Raises:
            Whatever reading raises, and StoreConflict when the lease is lost; the hints are then still there.
        """
        hints, generation = await self._store.calendars.load_hints(room.uid)
        if not hints or room.horizon is None:
            # Not read as a whole yet: the first full read is on its way and will hold what was hinted.
            await self._apply_nothing(room, lease=lease, generation=generation)
            return True
        if len(hints) > self._settings.hints_max:
            return False
        began_s = self._clock.monotonic()
        events, gone, series = await self._fetch_hinted(room, tenant, hints, room.horizon)
        bookings, broken = self._bookings(events, room)
        horizon = room.horizon
        scope = Scope(
            event_ids=tuple(sorted({*hints, *gone, *series})), keys=tuple(booking.key for booking in bookings)
        )
        applied = await self._store.calendars.apply(
            room,
            lambda stored: plan_hinted(
                stored, bookings, horizon, gone_events=gone, read_series=series, broken_events=broken
            ),
            lease=lease,
            scope=scope,
            hints_through=generation,
        )
        self._report("room_sync.done", applied, began_s, hints_count=len(hints))
        return True

    async def _apply_nothing(self, room: Room, *, lease: Lease, generation: int) -> None:
        none = Scope(event_ids=(), keys=())
        empty = frozenset[EventId]()
        horizon = room.horizon or self._horizon()
        await self._store.calendars.apply(
            room,
            lambda stored: plan_hinted(stored, (), horizon, gone_events=empty, read_series=empty),
            lease=lease,
            scope=none,
            hints_through=generation,
        )

    async def _fetch_hinted(
        self, room: Room, tenant: Tenant, hints: Sequence[EventId], horizon: Window
    ) -> tuple[list[GraphEvent], frozenset[EventId], frozenset[EventId]]:
        """Return the events that exist, the ids that do not, and the series that were read as sets."""
        events: list[GraphEvent] = []
        gone: set[EventId] = set()
        masters: set[EventId] = set()
        for event_id in hints:
            if event_id in masters:
                continue
            event = await self._reader.fetch_event(ref_of(tenant), address_of(room), event_id)
            if event is None:
                gone.add(event_id)
            elif is_part_of_series(event):
                masters.add(master_id_of(event) or event_id)
            else:
                events.append(event)
        read: set[EventId] = set()
        for master_id in sorted(masters):
            instances = await self._reader.fetch_instances(ref_of(tenant), address_of(room), master_id, horizon)
            if instances is None:
                gone.add(master_id)
                continue
            events += instances
            read.add(master_id)
        return events, frozenset(gone), frozenset(read)

    async def compare(self, room: Room, tenant: Tenant, *, lease: Lease) -> Applied | None:
        """Read the whole horizon and repair every difference; None when the room was unmapped meanwhile.

        Raises:
            Whatever reading raises, and StoreConflict when the lease is lost.
        """
        room = await self._learn_mailbox(room, tenant)
        began_at, began_s = self._clock.now(), self._clock.monotonic()
        _, generation = await self._store.calendars.load_hints(room.uid)
        horizon = self._horizon()
        bookings, broken = await self._view(room, tenant, horizon)
        gone: frozenset[BookingKey] = frozenset()
        if room.fresh_as_of_at is not None:
            stored = await self._store.calendars.load_stored(room.uid)
            missing = find_missing(stored, bookings, horizon, broken_events=broken)
            bookings, gone = await self._confirm(room, tenant, bookings, missing, horizon)
        applied = await self._store.calendars.apply(
            room,
            lambda stored: plan_compare(stored, bookings, horizon, confirmed_gone=gone),
            lease=lease,
            complete=CompleteRead(horizon=horizon, began_at=began_at, resyncs=room.resyncs),
            hints_through=generation,
        )
        if applied is not None and applied.drift_count:
            self._telemetry.count("room_drift", applied.drift_count)
        self._report("room_compare.done", applied, began_s, bookings_count=len(bookings))
        return applied

    async def _learn_mailbox(self, room: Room, tenant: Tenant) -> Room:
        """Ask once what is worth knowing about the mailbox: its zone decides when whole days begin."""
        if room.fresh_as_of_at is not None or (room.time_zone and room.object_id):
            return room
        object_id, zone = await self._reader.fetch_mailbox(ref_of(tenant), room.mailbox)
        await self._store.rooms.set_mailbox(room.uid, object_id=object_id, time_zone=zone)
        return await self._store.rooms.load_by_uid(room.uid) or room

    async def _confirm(
        self, room: Room, tenant: Tenant, bookings: list[Booking], missing: Sequence[StoredBooking], horizon: Window
    ) -> tuple[list[Booking], frozenset[BookingKey]]:
        """Look a second time for bookings that the first read did not show.

        Few are asked for one by one; many only count as gone when a second read of everything misses them, too.

        Returns:
            The bookings with what was found after all, and the keys of those that are gone.
        """
        if not missing:
            return bookings, frozenset()
        if len(missing) > self._settings.confirm_max:
            log.warning("room_compare.many_missing", room_uid=room.uid, missing_count=len(missing))
            again, broken = await self._view(room, tenant, horizon)
            shown = {booking.key for booking in again}
            first = [booking for booking in bookings if booking.key not in shown]
            absent = [item for item in missing if item.key not in shown and item.event_id not in broken]
            return first + again, frozenset(booking.key for booking in absent)
        found: list[GraphEvent] = []
        for booking in missing:
            event = await self._reader.fetch_event(ref_of(tenant), address_of(room), booking.event_id)
            if event is not None and event.type != "seriesMaster":
                found.append(event)
        more, broken = self._bookings(found, room)
        # An id that still exists does not keep a booking: a series that was moved to another hour gives its days' ids to
        # occurrences that are other bookings.
        kept = {booking.key for booking in more}
        gone = frozenset(item.key for item in missing if item.key not in kept and item.event_id not in broken)
        return bookings + more, gone

    async def _view(self, room: Room, tenant: Tenant, horizon: Window) -> tuple[list[Booking], frozenset[EventId]]:
        """Read everything; see `_bookings`."""
        return self._bookings(await self._reader.fetch_view(ref_of(tenant), address_of(room), horizon), room)

    def _bookings(self, events: Sequence[GraphEvent], room: Room) -> tuple[list[Booking], frozenset[EventId]]:
        """Return the bookings that events mean, and the ids of events that cannot be understood: those are not gone."""
        bookings: list[Booking] = []
        broken: set[EventId] = set()
        for event in events:
            booking = to_booking(event, room=room)
            if booking is not None:
                bookings.append(booking)
            elif event.type != "seriesMaster":
                broken.add(event.id)
        if broken:
            self._telemetry.count("events_broken", len(broken))
            log.warning("room.events_broken", room_uid=room.uid, events_count=len(broken))
        return bookings, frozenset(broken)

    def _horizon(self) -> Window:
        settings = self._settings
        return horizon_at(self._clock.now(), past_days=settings.past_days, future_days=settings.future_days)

    def _report(self, event: str, applied: Applied | None, began_s: float, **counts: int) -> None:
        if applied is None:
            return
        self._telemetry.count("changes", applied.changes_count)
        log.info(
            event,
            changes_count=applied.changes_count,
            drift_count=applied.drift_count,
            duration_s=round(self._clock.monotonic() - began_s, 3),
            **counts,
        )
