"""Reads a room from Exchange, as far as needed, and carries out the plan. One room at a time, by the lane's lease.

Three ways to learn of a change, one way to apply it: a notification names events, a delta round names events, a full read
shows everything. Whatever is named is read from Exchange itself before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import DeltaUnusable, GraphUnavailable
from sidecar.model.booking import Booking, StoredBooking
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.intent import Lease
from sidecar.model.plan import Applied, CompleteRead, DeltaPlace, DeltaRead, Scope
from sidecar.model.room import DENIALS, Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window, horizon_at
from sidecar.settings import SyncSettings
from sidecar.store.store import Store
from sidecar.sync.baseline import Asked, Baselines
from sidecar.sync.brake import SECOND_READ, agreed, choose_held
from sidecar.sync.delta import events_named, plan_check
from sidecar.sync.plan import find_missing, plan_compare, plan_hinted
from sidecar.sync.problems import hold_of
from sidecar.sync.reading import CalendarReader, Found, RoomReader
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_ASKED_BY_ID_COUNT = 5
"""Of many bookings that two windows lack, so many are asked for by id before the windows are believed."""
_DELTA_TRIES = 2
"""A delta round that Exchange failed to answer so often in a row is given up for a full read: that may work."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a window read means: the bookings that are there, those that are gone, and those that are not believed gone."""

    bookings: list[Booking]
    gone: frozenset[BookingKey] = frozenset()
    held: frozenset[BookingKey] = frozenset()


class RoomSync:
    """Keeps copies of rooms equal to their calendars."""

    def __init__(
        self, *, store: Store, reader: CalendarReader, clock: Clock, settings: SyncSettings, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._reading = RoomReader(reader=reader, keys=store.tenants, telemetry=telemetry)
        self._baselines = Baselines(reading=self._reading, clock=clock, telemetry=telemetry)
        self._clock = clock
        self._settings = settings
        self._telemetry = telemetry

    async def read_hinted(self, room: Room, tenant: Tenant, *, lease: Lease) -> bool:
        """Read the events that notifications named; False when there are too many and a full read is the better way.

        This does not make the room fresher: what was announced says nothing of what was not.

        Raises:
            Whatever reading raises, and StoreConflict when the lease is lost; the hints are then still there.
        """
        hints, generation = await self._store.calendars.load_hints(room.uid)
        if not hints or room.horizon is None:
            # Not read as a whole yet: the first full read is on its way and will hold what was hinted.
            nothing = Found(bookings=(), gone=frozenset(), series=frozenset(), broken=frozenset())
            await self._apply(room, (), nothing, self._horizon(room), lease=lease, hints_through=generation)
            return True
        if len(hints) > self._settings.hints_max:
            return False
        began_s = self._clock.monotonic()
        found = await self._reading.events(room, tenant, hints, room.horizon)
        applied = await self._apply(room, hints, found, room.horizon, lease=lease, hints_through=generation)
        self._report("room_sync.done", room, applied, began_s, hints_count=len(hints))
        return True

    async def check(self, room: Room, tenant: Tenant, *, lease: Lease, attempts: int = 0) -> Applied | None:
        """Ask which events changed since the last time, and read those; read everything where that cannot be learned.

        The room is as fresh as the beginning of the round, because all that the round named is in the copy then. The next
        round's link is kept in the same transaction, so that nothing is ever passed over.

        Args:
            attempts: how often in a row this has failed.
        Returns:
            None when the room was unmapped meanwhile.
        Raises:
            Whatever reading raises, and StoreConflict when the lease is lost; the former link is then still there.
        """
        place = room.delta
        if place is None or place.window != room.horizon:
            return await self.compare(room, tenant, lease=lease)
        began_at, began_s = self._clock.now(), self._clock.monotonic()
        hints, generation = await self._store.calendars.load_hints(room.uid)
        try:
            told = await self._reading.delta(room, tenant, place.window, link=place.link)
        except (DeltaUnusable, GraphUnavailable) as error:
            if isinstance(error, GraphUnavailable) and attempts < _DELTA_TRIES:
                raise
            return await self.compare(self._baselines.without(room, error), tenant, lease=lease)
        self._telemetry.count("delta_checks", 1)
        stored = await self._store.calendars.load_stored(room.uid) if told.items else {}
        event_ids = sorted({*hints, *plan_check(stored, told.items, place.window)})
        after = DeltaPlace(told.link, place.window)
        if len(event_ids) > self._settings.hints_max:
            return await self.compare(room, tenant, lease=lease, asked=Asked(after, events_named(told.items)))
        found = await self._reading.events(room, tenant, event_ids, place.window)
        delta = DeltaRead(place=after, began_at=began_at)
        applied = await self._apply(
            room, event_ids, found, place.window, lease=lease, hints_through=generation, delta=delta
        )
        counts = {"told_count": len(told.items), "read_count": len(event_ids)}
        self._report("room_check.done", room, applied, began_s, **counts)
        return applied

    async def _apply(
        self,
        room: Room,
        event_ids: Sequence[EventId],
        found: Found,
        horizon: Window,
        *,
        lease: Lease,
        hints_through: int,
        delta: DeltaRead | None = None,
    ) -> Applied | None:
        """Carry out what reading single events gave."""
        return await self._store.calendars.apply(
            room,
            lambda stored: plan_hinted(
                stored,
                found.bookings,
                horizon,
                gone_events=found.gone,
                read_series=found.series,
                broken_events=found.broken,
            ),
            lease=lease,
            scope=Scope(
                event_ids=tuple(sorted({*event_ids, *found.gone, *found.series})),
                keys=tuple(booking.key for booking in found.bookings),
            ),
            hints_through=hints_through,
            delta=delta,
        )

    async def compare(self, room: Room, tenant: Tenant, *, lease: Lease, asked: Asked | None = None) -> Applied | None:
        """Read the whole horizon and repair every difference; None when the room was unmapped meanwhile.

        Args:
            asked: what delta has just told; it is asked here otherwise, before the read begins.
        Raises:
            Whatever reading raises, and StoreConflict when the lease is lost.
        """
        if room.problem is not None and room.problem.reason in DENIALS:
            await self._reading.probe(
                room, tenant
            )  # it may refuse us for days, and a read begins with several requests
        room = await self._learn_mailbox(room, tenant)
        horizon = self._horizon(room)
        if asked is None:
            room, asked = await self._baselines.ask(room, tenant, horizon)
        elif asked.place is not None and asked.place.window != horizon:
            room, asked = await self._baselines.begin(room, tenant, horizon, named=asked.named)
        began_at, began_s = self._clock.now(), self._clock.monotonic()
        hints, generation = await self._store.calendars.load_hints(room.uid)
        bookings, broken = await self._reading.view(room, tenant, horizon)
        verdict = _Verdict(bookings)
        if room.fresh_as_of_at is not None:
            stored = await self._store.calendars.load_stored(room.uid)
            missing = find_missing(stored, bookings, horizon, broken_events=broken)
            named = frozenset(hints) | (asked.named or frozenset()) | await self._store.writes.load_awaited(room.uid)
            verdict = await self._judge(room, tenant, verdict, missing, stored, horizon, named, began_at)
        held = verdict.held
        complete = CompleteRead(
            horizon=horizon,
            began_at=began_at,
            resyncs=room.resyncs,
            place=asked.place,
            no_delta_until_at=room.no_delta_until_at if asked.place is None else None,
            named=asked.named,
            held=held,
            hold=hold_of(len(held), now=began_at, next_check_at=began_at + SECOND_READ) if held else None,
        )
        applied = await self._store.calendars.apply(
            room,
            lambda stored: plan_compare(stored, verdict.bookings, horizon, confirmed_gone=verdict.gone),
            lease=lease,
            complete=complete,
            hints_through=generation,
        )
        self._report("room_compare.done", room, applied, began_s, bookings_count=len(bookings))
        return applied

    async def _learn_mailbox(self, room: Room, tenant: Tenant) -> Room:
        """Ask once what is worth knowing about the mailbox (its zone decides when whole days begin), later whose it is.

        The permission to know its object id may be granted at any time. By it the mailbox goes on being read when it is given
        another address at Microsoft; that address is for whoever is shown it.
        """
        if room.fresh_as_of_at is not None:
            object_id, address = await self._reading.identity(room, tenant)
            if object_id is None and address is None:
                return room
            if address is not None:
                log.info("room.address_changed", room_uid=room.uid)
            await self._store.rooms.set_mailbox(room, object_id=object_id, time_zone=None, address=address)
        elif room.time_zone and room.object_id:
            return room
        else:
            object_id, zone = await self._reading.mailbox(room, tenant)
            await self._store.rooms.set_mailbox(room, object_id=object_id, time_zone=zone)
        return await self._store.rooms.load_by_uid(room.uid) or room

    async def _judge(
        self,
        room: Room,
        tenant: Tenant,
        read: _Verdict,
        missing: Sequence[StoredBooking],
        stored: Mapping[BookingKey, StoredBooking],
        horizon: Window,
        named: frozenset[EventId],
        began_at: datetime,
    ) -> _Verdict:
        """Decide what the absence of bookings from a window read means: a second look, now or later, for each of them."""
        if not missing:
            return read
        before = {} if room.hold_problem is None else await self._store.calendars.load_held(room.uid)
        gone = agreed(missing, before, began_at=began_at)
        rest = [item for item in missing if item.key not in gone]
        held = choose_held(rest, stored, named=named, now=began_at)
        doubtful = [item for item in rest if item.key not in held]
        looked = await self._confirm(room, tenant, read.bookings, doubtful, horizon)
        held = (held | looked.held) - {booking.key for booking in looked.bookings}
        if held and room.hold_problem is None:
            self._telemetry.count("deletions_held", len(held))
            log.warning("room_compare.deletions_held", room_uid=room.uid, bookings_count=len(held))
        return _Verdict(looked.bookings, gone | looked.gone, held)

    async def _confirm(
        self, room: Room, tenant: Tenant, bookings: list[Booking], missing: Sequence[StoredBooking], horizon: Window
    ) -> _Verdict:
        """Look a second time for bookings that the first read did not show; return the verdict with what was found after all.

        Few are asked for one by one; many only count as gone when a second read of everything misses them, too, and none of
        some that are asked for by id is there: a window that lies may lie twice.
        """
        if not missing:
            return _Verdict(bookings)
        if len(missing) > self._settings.confirm_max:
            log.warning("room_compare.many_missing", room_uid=room.uid, missing_count=len(missing))
            again, broken = await self._reading.view(room, tenant, horizon)
            shown = {booking.key for booking in again}
            first = [booking for booking in bookings if booking.key not in shown]
            absent = [item for item in missing if item.key not in shown and item.event_id not in broken]
            keys = frozenset(item.key for item in absent)
            some = absent[:_ASKED_BY_ID_COUNT]
            found, proved = await self._reading.look_for(room, tenant, some)
            if len(proved) < len(some):
                return _Verdict(first + again + found, held=keys)
            return _Verdict(first + again, keys)
        more, gone = await self._reading.look_for(room, tenant, missing)
        return _Verdict(bookings + more, gone)

    def _horizon(self, room: Room) -> Window:
        past_days, future_days = room.settings.past_days, room.settings.future_days
        return horizon_at(
            self._clock.now(),
            past_days=self._settings.past_days if past_days is None else past_days,
            future_days=self._settings.future_days if future_days is None else future_days,
        )

    def _report(self, event: str, room: Room, applied: Applied | None, began_s: float, **counts: int) -> None:
        if applied is None:
            return
        self._telemetry.count("changes", applied.changes_count)
        self._telemetry.count("unannounced_changes", applied.unannounced_count)
        self._telemetry.count("room_drift", applied.drift_count)
        log.info(
            event,
            changes_count=applied.changes_count,
            unannounced_count=applied.unannounced_count,
            drift_count=applied.drift_count,
            duration_s=round(self._clock.monotonic() - began_s, 3),
            **counts,
        )
