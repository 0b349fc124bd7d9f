"""Makes bookings in the room's own calendar.

Exchange checks nothing there, so two may be made for one hour. What decides is a look at the calendar after the booking was
made: everybody who writes looks, the order of making is Exchange's own (`conflicts.was_first`), and whoever was not first takes
his booking out again. A look before only saves making what would have to go again. The copy is enough for that, and costs
Exchange nothing; where people would be mailed about a booking that then goes, or the copy cannot vouch for the hours, the
calendar itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from sidecar.aio.clock import Clock
from sidecar.errors import BookingNotFound, MailboxDenied, RoomConflict
from sidecar.graph.clouds import ref_of
from sidecar.graph.wire import GraphEvent
from sidecar.model.booking import Booking, BookingState, StoredBooking
from sidecar.model.change import Cause
from sidecar.model.event import EventContent
from sidecar.model.ids import BookingKey, EventId, Mailbox
from sidecar.model.plan import Applied, RoomPlan, Scope
from sidecar.model.room import FreshnessLimits, Room, SyncState, sync_state
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.model.write import Write, WriteState
from sidecar.store.store import Store
from sidecar.store.write_steps import Step
from sidecar.sync.plan import plan_gone, plan_hinted
from sidecar.sync.reading import RoomReader
from sidecar.writes.conflicts import Conflict, find_conflicts, find_meetings, not_shown, room_conflict, was_first
from sidecar.writes.driver import Work
from sidecar.writes.failures import failure_of, write_denied
from sidecar.writes.making import EventCalls, make_once
from sidecar.writes.occurrences import reach_at, span_around, span_of, windows_of
from sidecar.writes.steps import first_of, ground_of

_LOOK_AGAIN_MIN, _LOOK_AGAIN_MAX = timedelta(seconds=2), timedelta(hours=1)
"""Between two looks for a booking that no view shows. A pause is as long as the waiting was before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrder:
    """What is needed to go on with making a booking: the payload of its write.

    Attributes:
        mailbox, calendar_no: of the room when it was begun; a room may be given another mailbox meanwhile.
    """

    mailbox: str
    calendar_no: int
    content: EventContent = field(repr=False)

    @staticmethod
    def of(room: Room, content: EventContent) -> CreateOrder:
        """Order a booking of a room."""
        return CreateOrder(mailbox=room.address, calendar_no=room.calendar_no, content=content)

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(payload: bytes) -> CreateOrder:
        """Read what `encode` wrote."""
        return msgspec.msgpack.decode(payload, type=CreateOrder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Where a booking is made."""

    room: Room
    tenant: Tenant
    order: CreateOrder


class RoomCreator:
    """The steps of a booking in the room's own calendar."""

    def __init__(
        self, *, store: Store, calls: EventCalls, reading: RoomReader, limits: FreshnessLimits, clock: Clock
    ) -> None:
        self._store = store
        self._calls = calls
        self._reading = reading
        self._limits = limits
        self._clock = clock

    async def check(self, room: Room, tenant: Tenant, content: EventContent, *, must_look: bool) -> None:
        """Find out whether a room is free, as far as that is worth knowing before a booking is made.

        Args:
            must_look: in the calendar itself, whatever the copy says.
        Raises:
            RoomConflict, and whatever reading raises.
        """
        scene = _Scene(room=room, tenant=tenant, order=CreateOrder.of(room, content))
        wanted = windows_of(content, until_at=reach_at(content, room.horizon))
        if not must_look and not self._is_look_due(scene):
            busy = await self._store.calendars.load_busy(room.uid, _span(scene))
            if not find_meetings(wanted, busy):
                return
        # A refusal is remembered, so the copy alone, which may be a moment old, refuses nothing.
        bookings, _ = await self._reading.view(room, tenant, _span(scene))
        conflicts = find_conflicts(wanted, bookings, not_these=())
        if conflicts:
            raise room_conflict(conflicts)

    def _is_look_due(self, scene: _Scene) -> bool:
        room, content = scene.room, scene.order.content
        if content.attendees or room.horizon is None:
            return True
        is_live = sync_state(room, now=self._clock.now(), limits=self._limits) is SyncState.LIVE
        return not is_live or content.window.end_at > room.horizon.end_at

    async def look_up(self, room: Room, write: Write) -> Booking | None:
        """Return the booking of a write from Exchange, of a series the first one; None when it is gone."""
        if write.event_id is None:
            return None
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        found = await self._reading.first_of(room, tenant, write.event_id)
        if found is None or write.state.is_ended:
            return found
        return replace(found, state=BookingState.PENDING)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        scene = await self._scene(work)
        if work.write.state is WriteState.WITHDRAWING:
            await self._withdraw(work, scene)
            return None
        if work.write.state.is_fresh:
            try:
                await self.check(scene.room, scene.tenant, scene.order.content, must_look=False)
            except RoomConflict as conflict:
                await work.note(state=WriteState.FAILED, failure=failure_of(conflict))
                return None
        if work.write.event_id is None:
            await self._make(work, scene)
        return await self._settle(work, scene)

    async def _scene(self, work: Work) -> _Scene:
        ground = await ground_of(self._store, work.write)
        assert work.write.payload is not None, "it has not ended"
        order = CreateOrder.decode(work.write.payload)
        room = replace(ground.room, mailbox=Mailbox(order.mailbox), object_id=None, calendar_no=order.calendar_no)
        return _Scene(room=room, tenant=ground.tenant, order=order)

    async def _make(self, work: Work, scene: _Scene) -> None:
        """Make the event, or find the one that was made, and put it into the copy: pending."""
        event = await self._create(work, scene)
        work.is_made = True
        bookings = await self._reading.meanings(scene.room, [event])
        await work.note_with(
            lambda step: self._apply(scene.room, event.id, bookings, step),
            state=WriteState.UNSETTLED,
            event_id=event.id,
            event_created_at=event.created_date_time,
            booking_key=bookings[0].key if bookings else None,
        )

    async def _create(self, work: Work, scene: _Scene) -> GraphEvent:
        tenant, order = ref_of(scene.tenant), scene.order
        try:
            return await make_once(self._calls, work.write, tenant, order.mailbox, order.content, now=self._clock.now())
        except MailboxDenied as error:
            raise write_denied(error) from error

    async def _settle(self, work: Work, scene: _Scene) -> datetime | None:
        """Look whether the room is ours, and say so, or take the booking out again.

        Returns:
            When to look again, because Exchange shows too little; None: it is settled.
        """
        event_id = work.write.event_id
        assert event_id is not None, "it was made"
        bookings, ours = await self._look(scene, event_id, _span(scene))
        if not ours:
            # One read of a span proves nothing: it may lack what is there, and somebody may have moved the booking.
            first = await self.look_up(scene.room, work.write)
            now = self._clock.now()
            if first is not None and first.state.takes_room:
                bookings, ours = await self._look(scene, event_id, _wider(_span(scene), first))
                if not ours and first.end_at > now:
                    return self._next_look_at(work)
            if not ours:  # it is gone, or filed into another calendar: no view has shown it until its end
                gone = BookingNotFound("somebody has removed the booking meanwhile")
                await self._end_without(work, scene, gone=failure_of(gone), cause=Cause.DELETED)
                return None
        conflicts, is_sure = await self._meetings(work, scene, bookings, ours)
        if not is_sure:
            bookings, ours = await self._look(scene, event_id, _wider(_span(scene), ours[0]))
            if not ours:
                return self._next_look_at(work)
            conflicts, _ = await self._meetings(work, scene, bookings, ours)
        if conflicts:
            await work.note(state=WriteState.WITHDRAWING, failure=failure_of(room_conflict(conflicts)))
            await self._withdraw(work, scene)
            return None
        await work.note_with(
            lambda step: self._apply(scene.room, event_id, ours, step),
            state=WriteState.DONE,
            booking_key=first_of(ours),
        )
        return None

    def _next_look_at(self, work: Work) -> datetime:
        """Return when to look again for what no view shows: ever more seldom."""
        now = self._clock.now()
        return now + min(max(now - work.write.created_at, _LOOK_AGAIN_MIN), _LOOK_AGAIN_MAX)

    async def _meetings(
        self, work: Work, scene: _Scene, bookings: Sequence[Booking], ours: Sequence[Booking]
    ) -> tuple[Sequence[Conflict], bool]:
        """Return what is in the way of a booking, and whether the copy knows of nothing that the calendar did not show.

        While a series is changed Exchange forgets what is different about single days: their hours look free, and are not.
        """
        event_id = work.write.event_id
        assert event_id is not None, "it was made"
        created_at = work.write.event_created_at
        rivals = [other for other in bookings if was_first(other, event_id=event_id, created_at=created_at)]
        windows = [Window(one.start_at, one.end_at) for one in ours if one.end_at > one.start_at]
        conflicts = find_conflicts(windows, rivals, not_these=(event_id,))
        if conflicts or not windows:
            return conflicts, True
        span = span_around(windows)
        frozen, others = await self._store.calendars.load_taken(scene.room.uid, span, besides={event_id})
        hidden = not_shown(others, bookings, not_these={event_id})
        return find_meetings(windows, frozen), not find_meetings(windows, hidden)

    async def _look(
        self, scene: _Scene, event_id: EventId, span: Window
    ) -> tuple[Sequence[Booking], Sequence[Booking]]:
        """Return what the calendar shows in a span, and what of it is ours."""
        bookings, _ = await self._reading.view(scene.room, scene.tenant, span)
        return bookings, [booking for booking in bookings if event_id in (booking.event_id, booking.master_id)]

    async def _withdraw(self, work: Work, scene: _Scene) -> None:
        event_id = work.write.event_id
        assert event_id is not None, "it was made"
        await self._calls.delete(ref_of(scene.tenant), scene.order.mailbox, event_id)
        await self._end_without(work, scene, gone=work.write.failure, cause=Cause.WITHDRAWN)

    async def _end_without(self, work: Work, scene: _Scene, *, gone: object, cause: Cause) -> None:
        event_id = work.write.event_id
        assert event_id is not None, "it was made"
        await work.note_with(
            lambda step: self._store.calendars.apply(
                scene.room,
                lambda stored: plan_gone(stored, cause),
                lease=None,
                scope=Scope(event_ids=(event_id,), keys=()),
                step=step,
            ),
            state=WriteState.FAILED,
            failure=gone,
        )

    async def _apply(self, room: Room, event_id: EventId, bookings: Sequence[Booking], step: Step) -> Applied | None:
        horizon = room.horizon
        is_series = any(booking.master_id is not None for booking in bookings)

        def plan(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
            if horizon is None:
                return RoomPlan()
            series = frozenset({event_id}) if is_series else frozenset[EventId]()
            return plan_hinted(stored, bookings, horizon, gone_events=frozenset(), read_series=series)

        scope = Scope(event_ids=(event_id,), keys=tuple(booking.key for booking in bookings))
        return await self._store.calendars.apply(room, plan, lease=None, scope=scope, step=step)


def _span(scene: _Scene) -> Window:
    content = scene.order.content
    if content.recurrence is None:
        return content.window
    until_at = reach_at(content, scene.room.horizon)
    return span_of(content.recurrence, content.window, zone=ZoneInfo(content.time_zone), until_at=until_at)


def _wider(span: Window, booking: Booking) -> Window:
    return Window(min(span.start_at, booking.start_at), max(span.end_at, booking.end_at))
