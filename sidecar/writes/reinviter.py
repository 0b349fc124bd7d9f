"""Changes bookings that were made through the API in people's calendars: the meeting itself, so the room answers anew.

The meeting is changed where it lies, with the room on it. Where the time is another one the room is asked once more, and its
answer is waited for as for that of a new meeting (`inviter`): a room that declines leaves the meeting there without it.
What else is different the room just takes over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from sidecar.aio.clock import Clock
from sidecar.errors import (
    BookingNotFound,
    EtagMismatch,
    GraphUnavailable,
    InvalidArgument,
    OrganizerUnreachable,
    RoomBlocked,
    SeriesUnreadable,
    SidecarError,
)
from sidecar.graph.clouds import ref_of
from sidecar.graph.events import window_of
from sidecar.graph.wire import GraphEvent
from sidecar.model.booking import Booking, BookingState
from sidecar.model.event import EventContent
from sidecar.model.ids import BookingKey, EventId, Mailbox
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.organizer_event import OrganizerEvent, meeting_uid_of
from sidecar.model.plan import RoomPlan
from sidecar.model.plan import Scope as PlanScope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.model.write import Hold, WriteState
from sidecar.store import journal
from sidecar.store.engine import Connection
from sidecar.store.store import Store
from sidecar.store.write_steps import supersede_in
from sidecar.sync.plan import Stored
from sidecar.sync.reading import CalendarReader, Found, RoomReader
from sidecar.writes.changer import encode_lost
from sidecar.writes.changes import Change, Scope
from sidecar.writes.driver import Lapsed, Work
from sidecar.writes.failures import failure_of
from sidecar.writes.invitations import InviteOrder, plan_moved
from sidecar.writes.inviter import Inviter
from sidecar.writes.making import is_late
from sidecar.writes.organizer_items import OrganizerItems
from sidecar.writes.planning import Planner
from sidecar.writes.rewrites import Rewrite
from sidecar.writes.rewriting import Rewriter
from sidecar.writes.splits import Lost
from sidecar.writes.steps import Endings, Ground, both
from sidecar.writes.verdict import answer_of, organizer_refusal

_TRIES = 3
"""How often a change is decided anew because somebody else changes the meeting all the time."""
_FINAL = (BookingNotFound, EtagMismatch, InvalidArgument, OrganizerUnreachable, SeriesUnreadable)
"""Refusals that end a change which somebody goes on with; of the organizer's mailbox not before the booking is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinviteOrder:
    """What is needed to go on: the payload of the write, until the room is asked; from then on it is an `InviteOrder`.

    Attributes:
        calendar_uid: of the booking that the caller names.
        is_in_series: it is one of several.
        window: when the booking takes place as far as the caller knows.
        is_versioned: only what the caller knows is to be changed.
        rewrite: what was decided; as long as there is none, nothing was sent.
    """

    key: BookingKey
    calendar_uid: str
    is_in_series: bool
    scope: Scope
    window: Window
    is_versioned: bool
    change: Change
    rewrite: Rewrite | None = field(default=None, repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all of the meeting is changed."""
        return not self.is_in_series or self.scope is not Scope.OCCURRENCE

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(payload: bytes) -> ReinviteOrder:
        """Read what `encode` wrote."""
        return msgspec.json.decode(payload, type=ReinviteOrder)


@dataclass(frozen=True, slots=True)
class _Scene:
    """A meeting that is changed: the room's ground, the organizer's, and where the meeting is."""

    ground: Ground
    theirs: Ground
    event: OrganizerEvent


class Reinviter:
    """The steps of such a change. Each may be made again: what was changed carries the mark of its write."""

    def __init__(
        self,
        *,
        store: Store,
        planner: Planner,
        rewriter: Rewriter,
        inviter: Inviter,
        endings: Endings,
        reader: CalendarReader,
        reading: RoomReader,
        clock: Clock,
    ) -> None:
        self._store = store
        self._planner = planner
        self._rewriter = rewriter
        self._inviter = inviter
        self._endings = endings
        self._reader = reader
        self._reading = reading
        self._items = OrganizerItems(reader=reader, reading=reading)
        self._clock = clock

    async def check(self, room: Room, tenant: Tenant, order: ReinviteOrder) -> Rewrite:
        """Find out what a change would do, and whether it could be made. What the room would answer, only the room knows.

        Raises:
            OrganizerUnreachable; whatever `Planner.plan_event` and reading raise. EtagMismatch.
        """
        scene = await self._scene(Ground(room, tenant), order)
        with _organizers_calendar():
            return await self._plan(scene, order)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        if work.write.hold is Hold.MOVED or work.write.state is WriteState.TENTATIVE:
            return await self._inviter.await_answer(work, is_new=False)
        assert work.write.payload is not None, "it has not ended"
        order = ReinviteOrder.decode(work.write.payload)
        is_fresh = work.write.state.is_fresh
        try:
            scene = await self._scene(await self._endings.ground(work.write), order)
            return await self._change(work, scene, order)
        except _FINAL as refusal:
            ends_at = max(window.end_at for window in (order.window, order.change.window) if window is not None)
            is_waited_out = not isinstance(refusal, OrganizerUnreachable) or ends_at <= self._clock.now()
            if is_fresh or not is_waited_out:
                raise
            await work.note(state=WriteState.FAILED, failure=failure_of(refusal))
            return None

    async def _scene(self, ground: Ground, order: ReinviteOrder) -> _Scene:
        event = await self._store.organizer_events.find(ground.room.uid, order.calendar_uid)
        if event is None:
            raise BookingNotFound("somebody has cancelled the booking meanwhile")
        theirs = replace(ground.room, mailbox=Mailbox(event.mailbox), object_id=None)
        return _Scene(ground, Ground(theirs, ground.tenant), event)

    async def _change(self, work: Work, scene: _Scene, order: ReinviteOrder) -> datetime | None:
        for _ in range(_TRIES):
            if order.rewrite is None:
                order = await self._decide(work, scene, order)
            elif work.write.fence > 1:
                await self._lapse(work, scene, order.rewrite)
            plan = order.rewrite
            assert plan is not None, "it was decided"
            failure = await self._send(work, scene, plan)
            if isinstance(failure, EtagMismatch) and not order.is_versioned:
                order = replace(order, rewrite=None)  # the caller means whichever version is there
                continue
            if failure is not None:
                await work.note(state=WriteState.FAILED, failure=failure_of(failure))
                return None
            work.is_made = True
            return await self._go_on(work, scene, order, plan)
        raise GraphUnavailable("somebody changes the booking all the time")

    async def _lapse(self, work: Work, scene: _Scene, plan: Rewrite) -> None:
        """Give up what Exchange did not take for long.

        Raises:
            Lapsed: nothing of it was done.
        """
        if not is_late(work.write, now=self._clock.now()):
            return
        with _organizers_calendar():
            if not await self._rewriter.is_begun(work.write, scene.theirs, plan):
                raise Lapsed

    async def _decide(self, work: Work, scene: _Scene, order: ReinviteOrder) -> ReinviteOrder:
        with _organizers_calendar():
            plan = await self._plan(scene, order)
            while await self._endings.has_waited(work, scene.event.event_id):
                plan = await self._plan(scene, order)
        order = replace(order, rewrite=plan)
        # By the id of the whole meeting: the days of a series are done again while one of them may be named.
        await work.note(state=WriteState.SENT, payload=order.encode(), event_id=scene.event.event_id)
        return order

    async def _plan(self, scene: _Scene, order: ReinviteOrder) -> Rewrite:
        named = await self._named(scene, order)
        if named is None or answer_of(named, (scene.ground.room.mailbox,)) is BookingState.CANCELLED:
            raise BookingNotFound("it was removed in Exchange, or does not invite the room any more")
        if order.is_versioned:
            window = window_of(named, room=scene.ground.room)
            if window is None or (window.start_at, window.end_at) != (order.window.start_at, order.window.end_at):
                raise EtagMismatch("somebody has changed it in Exchange meanwhile; read it and decide again")
        plan = await self._planner.plan_event(scene.theirs, named, order.scope, order.change)
        assert isinstance(plan, Rewrite), "no series in a person's calendar is cut"
        return plan

    async def _named(self, scene: _Scene, order: ReinviteOrder) -> GraphEvent | None:
        """Read the booking that is named in the organizer's calendar; None when it is gone."""
        tenant, mailbox = ref_of(scene.ground.tenant), scene.event.mailbox
        if not order.is_in_series:
            return await self._reader.fetch_event(tenant, mailbox, scene.event.event_id)
        days = await self._reader.fetch_instances(tenant, mailbox, scene.event.event_id, order.window)
        return next((day for day in days or () if day.i_cal_uid == order.calendar_uid), None)

    async def _send(self, work: Work, scene: _Scene, plan: Rewrite) -> SidecarError | None:
        """Change the meeting; return why it certainly was not changed."""
        try:
            done = await self._rewriter.patch_once(work.write, scene.theirs, plan.event_id, plan.forth, plan.change_key)
        except RoomBlocked as error:
            if error.may_be_done or work.write.fence > 1:
                raise organizer_refusal(error) from error
            return organizer_refusal(error)
        if isinstance(done, RoomBlocked):
            return organizer_refusal(done)
        return done if isinstance(done, SidecarError) else None

    async def _go_on(self, work: Work, scene: _Scene, order: ReinviteOrder, plan: Rewrite) -> datetime | None:
        """Do single days again, and ask the room, or tell what it shows where it is not asked."""
        with _organizers_calendar():
            # Whether the hours are free is the room's to say.
            lost = await self._rewriter.settle(scene.theirs, replace(plan, windows=()))
            assert not isinstance(lost, SidecarError), "nothing is in the way of nothing"
            asked = await self._asked(scene, plan) if plan.back else None
        event = self._kept(scene, order)
        if asked is None:
            await self._end(work, scene, order, event, lost)
            return None
        target, booking = asked
        content = _asked_for(booking, plan)
        await self._ask(work, scene, order, event, target, booking, content, lost)
        return await self._inviter.await_answer(work, is_new=True)

    async def _asked(self, scene: _Scene, plan: Rewrite) -> tuple[EventId, Booking] | None:
        """Return the item that tells the room's answer, and its booking; None when there is none to ask about."""
        tenant, mailbox = ref_of(scene.ground.tenant), scene.event.mailbox
        found: Sequence[GraphEvent]
        if plan.named_at is None:
            event = await self._reader.fetch_event(tenant, mailbox, plan.event_id)
            found = () if event is None else (event,)
        else:
            span = Window.around(plan.named_at, plan.named_at)
            found = await self._reader.fetch_instances(tenant, mailbox, plan.event_id, span) or ()
        addresses = (scene.ground.room.mailbox,)
        for event in found:
            answer = await self._items.answer(
                scene.ground.room, scene.ground.tenant, mailbox, event, addresses=addresses
            )
            booking = answer.booking
            if booking is not None and plan.named_at in {None, booking.original_start_at}:
                return event.id, booking
        return None

    def _kept(self, scene: _Scene, order: ReinviteOrder) -> OrganizerEvent:
        """Return what is kept of the meeting from now on."""
        event, change = scene.event, order.change
        over_at = event.over_at
        if change.window is not None and over_at is not None:
            over_at = max(over_at, change.window.end_at)
        if change.rule:
            over_at = None  # kept for as long as the room is: a rule may have no end
        annotations = event.annotations if change.annotations is None else change.annotations
        return replace(event, over_at=over_at, annotations=annotations)

    async def _ask(
        self,
        work: Work,
        scene: _Scene,
        order: ReinviteOrder,
        event: OrganizerEvent,
        target: EventId,
        booking: Booking,
        content: EventContent,
        lost: tuple[Lost, ...],
    ) -> None:
        """Tell that the room has to answer for the new time; what it answered for the old one is nobody's news any more."""
        room = scene.ground.room
        told = replace(booking, state=BookingState.PENDING, mark=work.write.uid)
        after = InviteOrder(
            organizer=event.mailbox,
            room_address=room.mailbox,
            room_name=room.display_name or room.mailbox,
            calendar_no=room.calendar_no,
            content=content,
            made_by="" if order.is_in_series else event.write_uid,
        )
        keep = self._store.organizer_events.saving(event)

        def plan(stored: Stored) -> RoomPlan:
            return plan_moved(room, stored, told)

        async def also(c: Connection) -> None:
            await supersede_in(c, room.uid, told.key, by=work.write.uid)
            await keep(c)

        await work.note_with(
            lambda step: self._store.calendars.apply(
                room, plan, lease=None, scope=PlanScope(event_ids=(), keys=(told.key,)), step=both(step, also)
            ),
            state=WriteState.UNSETTLED,
            hold=Hold.MOVED,
            payload=after.encode(),
            event_id=target,
            booking_key=told.key,
            answer=encode_lost(lost),
        )

    async def _end(
        self, work: Work, scene: _Scene, order: ReinviteOrder, event: OrganizerEvent, lost: tuple[Lost, ...]
    ) -> None:
        """End a change of which the room is asked nothing, and show what its calendar shows."""
        room, tenant = scene.ground.room, scene.ground.tenant

        held, _ = await self._reading.view(room, tenant, order.window)
        shown = [one for one in held if meeting_uid_of(one.calendar_uid) == event.meeting_uid]
        if all(one.key != order.key for one in shown):
            shown += await self._unanswered(scene, order)
        keep = self._store.organizer_events.saving(event)

        async def also(c: Connection) -> None:
            await keep(c)
            if order.is_in_series and order.change.annotations is not None:
                # They are told of the other days, too, and nothing in the room's calendar announces them.
                await journal.mark(c, IntentKind.ROOM_COMPARE, room.uid, tenant.uid, priority=Priority.COMPARE)

        found = Found(bookings=shown, gone=frozenset(), series=frozenset(), broken=frozenset())
        await self._endings.note(
            work,
            scene.ground,
            (),
            found,
            also=also,
            state=WriteState.DONE,
            booking_key=order.key,
            answer=encode_lost(lost),
        )

    async def _unanswered(self, scene: _Scene, order: ReinviteOrder) -> list[Booking]:
        """Return the booking as the organizer's item tells it, if the room has not answered, and shows nothing of it."""
        with _organizers_calendar():
            named = await self._named(scene, order)
            if named is None:
                return []
            room = scene.ground.room
            answer = await self._items.answer(
                room, scene.ground.tenant, scene.event.mailbox, named, addresses=(room.mailbox,)
            )
        return [answer.booking] if answer.booking is not None and answer.state is BookingState.PENDING else []


@contextmanager
def _organizers_calendar() -> Iterator[None]:
    """Have refusals speak of the organizer.

    Raises:
        OrganizerUnreachable.
    """
    try:
        yield
    except RoomBlocked as error:
        raise organizer_refusal(error) from error


def _asked_for(booking: Booking, plan: Rewrite) -> EventContent:
    """Return what the room is asked for now: when."""
    if plan.after is not None:
        timing = plan.after.timing
        return EventContent(
            window=timing.first,
            time_zone=timing.time_zone,
            is_all_day=timing.is_all_day,
            recurrence=timing.recurrence,
        )
    return EventContent(
        window=Window.around(booking.start_at, booking.end_at),
        time_zone=booking.time_zone or "UTC",
        is_all_day=booking.is_all_day,
    )
