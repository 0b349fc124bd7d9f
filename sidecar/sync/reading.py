"""Reads a room's calendar from Exchange, in the words of bookings. Asks and converts; decides and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.events import is_part_of_series, master_id_of, span_of_event, to_booking
from sidecar.graph.wire import DeltaRound, GraphEvent
from sidecar.graph.wire_directory import Identity
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.ids import BookingKey, EventId, Mailbox, TenantUid
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_ADDRESS_CHARS_MAX = 254
"""Of an address that Microsoft tells; mail knows no longer ones."""


class EventReader(Protocol):
    """Reading single events at Microsoft; `graph.client.GraphClient` is one. Errors are those it names."""

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """Read one event; None when it is gone."""


class CalendarReader(EventReader, Protocol):
    """Reading calendars at Microsoft, as well."""

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """Read all events that touch a window."""

    async def fetch_delta(self, tenant: TenantRef, mailbox: str, window: Window, *, link: str | None) -> DeltaRound:
        """Read what changed since a link, or everything and a first link."""

    async def fetch_instances(
        self, tenant: TenantRef, mailbox: str, master_id: str, window: Window
    ) -> list[GraphEvent] | None:
        """Read the occurrences of a series; None when it is gone."""

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """Read a mailbox's object id and zone; None for what may not be known."""

    async def fetch_identity(self, tenant: TenantRef, mailbox: str) -> Identity | None:
        """Read the addresses of a mailbox; None when they may not be known."""

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """Return when a mailbox's calendar can be read."""


class HashKeys(Protocol):
    """The tenants' keys for hashes; `store.tenants.Tenants` has them."""

    async def load_hash_key(self, tenant_uid: TenantUid) -> bytes:
        """Return the key under which a tenant's words and people are hashed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What reading single events gave.

    Attributes:
        bookings: of the events that exist, and of all occurrences of `series` inside the horizon.
        gone: ids that a direct read did not find.
        series: masters whose occurrences were read as sets.
        broken: events that exist but cannot be understood; whatever they are, they are not gone.
    """

    bookings: Sequence[Booking]
    gone: frozenset[EventId]
    series: frozenset[EventId]
    broken: frozenset[EventId]


class RoomReader:
    """Reads rooms. Every method raises whatever reading raises."""

    def __init__(self, *, reader: CalendarReader, keys: HashKeys, telemetry: Telemetry) -> None:
        self._reader = reader
        self._keys = keys
        self._telemetry = telemetry

    async def probe(self, room: Room, tenant: Tenant) -> None:
        """Return when the calendar can be read: the smallest request there is."""
        await self._reader.probe(ref_of(tenant), room.address)

    async def mailbox(self, room: Room, tenant: Tenant) -> tuple[str | None, str | None]:
        """Return a mailbox's object id and zone; None for what may not be known."""
        return await self._reader.fetch_mailbox(ref_of(tenant), room.mailbox)

    async def identity(self, room: Room, tenant: Tenant) -> tuple[str | None, Mailbox | None]:
        """Return the object id of a room's mailbox, and where it is reached when that is not its address any more.

        None for what is not known, and for what is as it was.
        """
        found = await self._reader.fetch_identity(ref_of(tenant), room.address)
        if found is None:
            return None, None
        mail = found.mail or ""
        is_kept = room.mailbox.casefold() in found.addresses or not 0 < len(mail) <= _ADDRESS_CHARS_MAX
        return (found.id if room.object_id is None else None), (None if is_kept else Mailbox(mail))

    async def delta(self, room: Room, tenant: Tenant, window: Window, *, link: str | None) -> DeltaRound:
        """Return what changed since a link, or everything and a first link.

        Raises:
            DeltaUnusable: it cannot be learned.
        """
        return await self._reader.fetch_delta(ref_of(tenant), room.address, window, link=link)

    async def view(self, room: Room, tenant: Tenant, horizon: Window) -> tuple[list[Booking], frozenset[EventId]]:
        """Return everything in a window; see `_bookings`."""
        return await self._bookings(await self._reader.fetch_view(ref_of(tenant), room.address, horizon), room)

    async def events(self, room: Room, tenant: Tenant, event_ids: Sequence[EventId], horizon: Window) -> Found:
        """Return what some ids name: single events as they are, series as the set of their occurrences."""
        events: list[GraphEvent] = []
        gone: set[EventId] = set()
        masters: set[EventId] = set()
        for event_id in event_ids:
            if event_id in masters:
                continue
            event = await self._reader.fetch_event(ref_of(tenant), room.address, event_id)
            if event is None:
                gone.add(event_id)
            elif is_part_of_series(event):
                masters.add(master_id_of(event) or event_id)
            else:
                events.append(event)
        read: set[EventId] = set()
        for master_id in sorted(masters):
            instances = await self._reader.fetch_instances(ref_of(tenant), room.address, master_id, horizon)
            if instances is None:
                gone.add(master_id)
                continue
            events += instances
            read.add(master_id)
        bookings, broken = await self._bookings(events, room)
        return Found(bookings=bookings, gone=frozenset(gone), series=frozenset(read), broken=broken)

    async def first_of(self, room: Room, tenant: Tenant, event_id: EventId) -> Booking | None:
        """Return the booking that an event is, of a series the first one; None when it is gone."""
        event = await self._reader.fetch_event(ref_of(tenant), room.address, event_id)
        if event is None:
            return None
        events = [event]
        if is_part_of_series(event):
            span = span_of_event(event)
            instances = (
                None
                if span is None
                else await self._reader.fetch_instances(ref_of(tenant), room.address, event_id, Window(*span))
            )
            events = instances or []
        bookings, _ = await self._bookings(events, room)
        return min(bookings, key=lambda booking: booking.start_at, default=None)

    async def look_for(
        self, room: Room, tenant: Tenant, missing: Sequence[StoredBooking]
    ) -> tuple[list[Booking], frozenset[BookingKey]]:
        """Ask one by one for bookings that a window did not show.

        Returns:
            Those that exist after all, and the keys of those that do not.
        """
        found: list[GraphEvent] = []
        for booking in missing:
            event = await self._reader.fetch_event(ref_of(tenant), room.address, booking.event_id)
            if event is not None and event.type != "seriesMaster":
                found.append(event)
        more, broken = await self._bookings(found, room)
        # An id that still exists does not keep a booking: a series that was moved to another hour gives its days' ids to
        # occurrences that are other bookings.
        kept = {booking.key for booking in more}
        gone = frozenset(item.key for item in missing if item.key not in kept and item.event_id not in broken)
        return more, gone

    async def meanings(self, room: Room, events: Sequence[GraphEvent]) -> Sequence[Booking]:
        """Return the bookings that events mean which were not read here, but answered to a write."""
        bookings, _ = await self._bookings(events, room)
        return bookings

    async def _bookings(self, events: Sequence[GraphEvent], room: Room) -> tuple[list[Booking], frozenset[EventId]]:
        """Return the bookings that events mean, and the ids of events that cannot be understood: those are not gone."""
        is_hashing = room.settings.privacy.is_hashing
        hash_key = await self._keys.load_hash_key(room.tenant_uid) if is_hashing else b""
        bookings: list[Booking] = []
        broken: set[EventId] = set()
        for event in events:
            booking = to_booking(event, room=room, hash_key=hash_key)
            if booking is not None:
                bookings.append(booking)
            elif event.type != "seriesMaster":
                broken.add(event.id)
        if broken:
            self._telemetry.count("events_broken", len(broken))
            log.warning("room.events_broken", room_uid=room.uid, events_count=len(broken))
        return bookings, frozenset(broken)
