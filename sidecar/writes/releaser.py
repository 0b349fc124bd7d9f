"""Gives rooms back before their bookings end, without harming what is not the room's own.

What has to be done is decided from the event as Exchange has it now; doing it twice does nothing more. Until it is done the
copy stays as it is, and a read that is quicker than this write tells the right cause (`Hold.RELEASING`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, assert_never

import msgspec

from sidecar.errors import BookingNotFound, BookingOver, EtagMismatch, GraphUnavailable, SidecarError
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire import GraphEvent
from sidecar.model.attendance import release_end
from sidecar.model.booking import Booking, StoredBooking, booking_digest
from sidecar.model.change import Cause
from sidecar.model.event import EventContent
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.plan import RoomPlan, Scope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.model.write import WriteState
from sidecar.store.attendances import released_with
from sidecar.store.calendars import Planner
from sidecar.store.store import Store
from sidecar.store.write_steps import Step
from sidecar.sync.plan import plan_gone, plan_hinted
from sidecar.sync.reading import EventReader, RoomReader
from sidecar.writes.driver import Work
from sidecar.writes.failures import failure_of
from sidecar.writes.releasing import Release, choose_release
from sidecar.writes.steps import ground_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOrder:
    """What is needed to go on with a release: the payload of its write.

    Attributes:
        released_at: when it was asked for: a release that is finished later frees the room from then on.
        digest: of the booking as the caller knows it; empty: whatever it is by now.
        comment: for the organizer, where the room leaves a meeting.
        is_missing_fine: a booking that is gone is as good as released.
    """

    key: BookingKey
    released_at: datetime
    digest: bytes = b""
    comment: str = field(default="", repr=False)
    is_missing_fine: bool = False

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(payload: bytes) -> ReleaseOrder:
        """Read what `encode` wrote."""
        return msgspec.msgpack.decode(payload, type=ReleaseOrder)


class ReleaseCalls(Protocol):
    """Writing events at Microsoft; `graph.event_writer.EventWriter` is one. Errors are those it names."""

    async def update(
        self, tenant: TenantRef, mailbox: str, event_id: EventId, content: EventContent, *, parts: Iterable[str]
    ) -> GraphEvent:
        """Change parts of an event."""

    async def delete(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """Make sure that an event does not exist."""

    async def decline(self, tenant: TenantRef, mailbox: str, event_id: EventId, *, comment: str) -> None:
        """Make sure that somebody else's meeting does not take the mailbox's time, and tell its organizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What is released: `stored` is the booking as the copy has it, None: it is gone."""

    room: Room
    tenant: Tenant
    order: ReleaseOrder
    stored: StoredBooking | None


class Releaser:
    """The steps of a release."""

    def __init__(self, *, store: Store, calls: ReleaseCalls, reader: EventReader, reading: RoomReader) -> None:
        self._store = store
        self._calls = calls
        self._reader = reader
        self._reading = reading

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        scene = await self._scene(work)
        refusal = _refusal_of(scene) if work.write.state.is_fresh else None
        if refusal is not None:
            await work.note(state=WriteState.FAILED, failure=failure_of(refusal))
        elif scene.stored is None:  # gone before, or by an earlier try of this write
            await work.note(state=WriteState.DONE)
        else:
            await self._release(work, scene, scene.stored)
        return None

    async def _scene(self, work: Work) -> _Scene:
        ground = await ground_of(self._store, work.write)
        assert work.write.payload is not None, "it has not ended"
        order = ReleaseOrder.decode(work.write.payload)
        return _Scene(
            room=ground.room,
            tenant=ground.tenant,
            order=order,
            stored=await self._store.calendars.load_one(ground.room.uid, order.key),
        )

    async def _release(self, work: Work, scene: _Scene, stored: StoredBooking) -> None:
        event, booking = await self._find(scene, stored)
        if event is None or booking is None:
            is_fresh = work.write.state.is_fresh
            if is_fresh and await self._store.writes.is_awaited(scene.room.uid, scene.order.key):
                away = GraphUnavailable("the meeting has not reached the room yet; cancel it, or try again")
                away.may_be_done = False
                raise away
            # By an earlier try of this write, or by somebody else; its cause is told by whoever reads first.
            is_by_us = not work.write.state.is_fresh
            await self._end_without(work, scene, Cause.RELEASED if is_by_us else Cause.DELETED)
            return
        is_same = event.change_key == stored.change_key or booking_digest(booking) == stored.digest
        if scene.order.digest and work.write.state.is_fresh and not is_same:
            changed = EtagMismatch("somebody has changed it in Exchange meanwhile; read it and decide again")
            await work.note(state=WriteState.FAILED, failure=failure_of(changed))
            return
        if not booking.state.takes_room:
            await self._end_with(work, scene, booking)
            return
        release = choose_release(
            is_rooms_own=event.is_organizer is True,
            start_at=booking.start_at,
            end_at=booking.end_at,
            released_at=scene.order.released_at,
        )
        await self._free(work, scene, booking, release)

    async def _find(self, scene: _Scene, stored: StoredBooking) -> tuple[GraphEvent | None, Booking | None]:
        """Return the event that is to be released, and what it means; Nones when the room has none.

        A meeting that was made through the API may lie in the copy with the id that it has in the organizer's calendar.
        """
        event_id = stored.event_id
        event = await self._reader.fetch_event(ref_of(scene.tenant), scene.room.address, event_id)
        booking = await self._meaning(scene, event)
        if booking is None:
            window = Window.around(stored.start_at, stored.end_at)
            held, _ = await self._reading.view(scene.room, scene.tenant, window)
            event_id = next((one.event_id for one in held if one.key == scene.order.key), event_id)
        if event_id != stored.event_id:
            event = await self._reader.fetch_event(ref_of(scene.tenant), scene.room.address, event_id)
            booking = await self._meaning(scene, event)
        return event, booking

    async def _free(self, work: Work, scene: _Scene, booking: Booking, release: Release) -> None:
        """Do at Exchange what was chosen, and note it with what follows from it."""
        where = ref_of(scene.tenant), scene.room.address, booking.event_id
        match release:
            case Release.DECLINE:
                await self._calls.decline(*where, comment=scene.order.comment)
                await self._end_without(work, scene, Cause.RELEASED)
            case Release.REMOVE:
                await self._calls.delete(*where)
                await self._end_without(work, scene, Cause.RELEASED)
            case Release.SHORTEN:
                window = Window(booking.start_at, release_end(scene.order.released_at))
                content = EventContent(window=window, time_zone=booking.time_zone or "UTC")
                event = await self._calls.update(*where, content, parts=("time",))
                work.is_made = True
                shortened = await self._meaning(scene, event)
                if shortened is None:
                    raise GraphUnavailable("Exchange answered with something that is no answer")
                await self._end_with(work, scene, shortened)
            case Release.NOTHING:
                await self._end_with(work, scene, booking)
            case _:
                assert_never(release)

    async def _meaning(self, scene: _Scene, event: GraphEvent | None) -> Booking | None:
        """Return what an event is of the room, if it is the booking in question: ids outlive what they were given to."""
        if event is None:
            return None
        for booking in await self._reading.meanings(scene.room, [event]):
            if booking.key == scene.order.key:
                return booking
        return None

    async def _end_with(self, work: Work, scene: _Scene, booking: Booking) -> None:
        """Note that the booking is released, and stays in the copy as it is now."""
        horizon = scene.room.horizon

        def plan(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
            if horizon is None:
                return RoomPlan()
            return plan_hinted(stored, [booking], horizon, gone_events=frozenset(), read_series=frozenset())

        await self._end(work, scene, plan, released_at=scene.order.released_at)

    async def _end_without(self, work: Work, scene: _Scene, cause: Cause) -> None:
        """Note that the booking is gone from the room."""
        await self._end(work, scene, lambda stored: plan_gone(stored, cause), released_at=None)

    async def _end(self, work: Work, scene: _Scene, plan: Planner, *, released_at: datetime | None) -> None:
        scope = Scope(event_ids=(), keys=(scene.order.key,))
        room = scene.room

        async def commit(step: Step) -> None:
            whole = step if released_at is None else released_with(step, room.uid, scene.order.key, released_at)
            await self._store.calendars.apply(room, plan, lease=None, scope=scope, step=whole)

        await work.note_with(commit, state=WriteState.DONE)


def _refusal_of(scene: _Scene) -> SidecarError | None:
    """Return why nothing is to be released; decided once, before anything is sent."""
    stored, order = scene.stored, scene.order
    if stored is None:
        return None if order.is_missing_fine else BookingNotFound("there is no such booking")
    if order.digest and order.digest != stored.digest:
        return EtagMismatch("the booking has changed since")
    if not stored.takes_room or stored.end_at <= order.released_at:
        return BookingOver("the booking does not take the room any more")
    return None
