"""Makes bookings as meetings in people's calendars, with the room invited, and waits for the room's answer.

The room answers when it likes: within seconds by its own rules, within days where somebody decides for it, or never. Its
answer is learned in two ways, whichever is quicker: from the room's own copy of the meeting, which every read of its calendar
may bring (`store.unsettled` ends the write then), and from the organizer's item, which is asked in growing pauses. Only the
latter tells of a refusal: the room's copy is simply not there any more, or never was.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import (
    BookingNotFound,
    GraphRefused,
    MailboxNotFound,
    MailboxNotInCloud,
    RoomBlocked,
    StoreConflict,
    Unavailable,
)
from sidecar.graph.clouds import ref_of
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.graph.wire import GraphEvent
from sidecar.model.booking import Booking, BookingState, Decline
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, Mailbox
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.organizer_event import OrganizerEvent, meeting_uid_of
from sidecar.model.plan import Applied, Removal, RoomPlan, Scope
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.model.write import Hold, Write, WriteState, WriteUid
from sidecar.store import journal
from sidecar.store.calendars import Planner
from sidecar.store.engine import Connection
from sidecar.store.organizer_events import drop_in
from sidecar.store.store import Store
from sidecar.store.write_steps import Step
from sidecar.sync.plan import Stored
from sidecar.sync.reading import CalendarReader, RoomReader
from sidecar.writes.conflicts import find_conflicts
from sidecar.writes.driver import Work
from sidecar.writes.failures import failure_of
from sidecar.writes.invitations import InviteOrder, Scene, plan_moved, plan_told
from sidecar.writes.making import EventCalls, make_once
from sidecar.writes.occurrences import reach_at, span_around, windows_of
from sidecar.writes.organizer_items import Answer, OrganizerItems
from sidecar.writes.steps import ground_of
from sidecar.writes.verdict import Asked, organizer_refusal, why_declined

log = structlog.get_logger(__name__)

_WAITED_S = 30.0
"""How long whoever made a meeting goes on asking for the answer; after that background work does. Longer than callers wait
unless they say so, and short of the time that one try may take."""
_PAUSE_S_MIN, _PAUSE_S_MAX = 1.0, 3_600.0
"""Between two questions about one meeting. A pause is as long as the waiting was before it, so questions come after 1, 2, 4, 8
seconds and so on, 12 in the first hour, and one an hour from then on."""


class Inviter:
    """The steps of a booking in a person's calendar."""

    def __init__(
        self, *, store: Store, calls: EventCalls, reader: CalendarReader, reading: RoomReader, clock: Clock
    ) -> None:
        self._store = store
        self._calls = calls
        self._reader = reader
        self._reading = reading
        self._items = OrganizerItems(reader=reader, reading=reading)
        self._clock = clock

    async def check(self, tenant: Tenant, organizer: str) -> None:
        """Find out whether a person's calendar can be reached. What a room would answer, only the room knows.

        Raises:
            OrganizerUnreachable, and whatever reading raises.
        """
        try:
            await self._reader.probe(ref_of(tenant), organizer)
        except RoomBlocked as error:
            raise organizer_refusal(error) from error

    async def look_up(self, room: Room, write: Write) -> Booking | None:
        """Return the booking of a write as the organizer's item tells it, of a series the first one; None when it is gone.

        Raises:
            OrganizerUnreachable, and whatever reading raises.
        """
        event = await self._store.organizer_events.find_made_by(write.uid)
        if event is None:
            return None
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        try:
            answer = await self._items.read(room, tenant, event.mailbox, event.event_id, addresses=(room.mailbox,))
        except RoomBlocked as error:
            raise organizer_refusal(error) from error
        return None if answer.booking is None else replace(answer.booking, state=answer.state)

    async def carry_out(self, work: Work) -> datetime | None:
        """See `Steps`."""
        return await self.await_answer(work, is_new=work.write.state.is_fresh)

    async def await_answer(self, work: Work, *, is_new: bool) -> datetime | None:
        """Make the meeting of a write that knows none yet, and wait for what the room answers; see `carry_out`.

        Args:
            is_new: the room was asked just now.
        """
        until_s = self._clock.monotonic() + _WAITED_S
        scene = await self._scene(work.write)
        try:
            if work.write.event_id is None:
                answer = await self._invite(work, scene)
            else:
                with acting_with(Urgency.WRITE if work.callers_count else Urgency.CHECK):
                    answer = await self._ask(work.write, scene)
            return await self._await_answer(work, scene, answer, until_s=until_s, is_new=is_new)
        except StoreConflict:
            # A read of the room's calendar may have brought the answer, and with it the end.
            found = await self._store.writes.load(work.write.uid)
            if found is None or not found.state.is_ended:
                raise
            work.write = found
            return None

    async def _scene(self, write: Write) -> Scene:
        ground = await ground_of(self._store, write)
        room = ground.room
        assert write.payload is not None, "it has not ended"
        order = InviteOrder.decode(write.payload)
        if room.calendar_no != order.calendar_no:
            # The answer is the former mailbox's, and nothing of it belongs into the copy of the new one.
            room = replace(room, mailbox=Mailbox(order.room_address), object_id=None, calendar_no=order.calendar_no)
        return Scene(room=room, tenant=ground.tenant, order=order)

    async def _invite(self, work: Work, scene: Scene) -> Answer:
        """Make the meeting, or find the one that was made; put its booking into the copy, pending."""
        event = await self._make(work, scene)
        work.is_made = True
        answer = await self._items.answer(
            scene.room, scene.tenant, scene.order.organizer, event, addresses=scene.addresses
        )
        booking = answer.booking
        keep = self._store.organizer_events.saving(
            OrganizerEvent(
                tenant_uid=scene.tenant.uid,
                room_uid=scene.room.uid,
                meeting_uid=meeting_uid_of(event.i_cal_uid or event.id),
                write_uid=work.write.uid,
                mailbox=scene.order.organizer,
                event_id=event.id,
                annotations=scene.order.content.annotations,
                over_at=scene.over_at,
            )
        )
        await work.note_with(
            lambda step: self._apply(scene, lambda stored: plan_told(scene, stored, booking), booking, step, keep),
            state=WriteState.UNSETTLED,
            event_id=event.id,
            event_created_at=event.created_date_time,
            booking_key=None if booking is None else booking.key,
        )
        return answer

    async def _make(self, work: Work, scene: Scene) -> GraphEvent:
        order = scene.order
        try:
            return await make_once(
                self._calls,
                work.write,
                scene.ref,
                order.organizer,
                order.content,
                now=self._clock.now(),
                room=order.room,
            )
        except (RoomBlocked, BookingNotFound) as error:
            refusal = organizer_refusal(error)
            is_gone = isinstance(error, MailboxNotFound | MailboxNotInCloud)
            if not work.write.state.is_fresh and (is_gone or order.content.window.end_at <= self._clock.now()):
                # Whatever an earlier try may have made is gone with the mailbox, or nobody's concern any more.
                await work.note(state=WriteState.FAILED, failure=failure_of(refusal))
                raise StoreConflict("the write has ended") from error
            raise refusal from error

    async def _ask(self, write: Write, scene: Scene) -> Answer:
        assert write.event_id is not None, "it was made"
        return await self._items.ask(
            scene.room, scene.tenant, scene.order.organizer, write.event_id, addresses=scene.addresses
        )

    async def _await_answer(
        self, work: Work, scene: Scene, answer: Answer, *, until_s: float, is_new: bool
    ) -> datetime | None:
        """Tell the room's answer when it is there; ask for it again and again until then, and leave the rest for later.

        Args:
            is_new: the meeting was asked for just now, so most likely the room is about to answer. Of an older one it is waited
                for no longer than somebody does.
        """
        asked_at = work.write.event_created_at or work.write.created_at
        stop = self._store.writes.on_news(lambda uid: work.news.ring() if uid in ("", work.write.uid) else None)
        try:
            while True:
                version = work.news.version
                if await self._is_told(work, scene, answer):
                    return None
                pause_s = min(max((self._clock.now() - asked_at).total_seconds(), _PAUSE_S_MIN), _PAUSE_S_MAX)
                may_wait = self._clock.monotonic() + pause_s <= until_s and (is_new or work.callers_count)
                if may_wait and not work.must_leave:
                    await work.news.wait(version, pause_s)
                if work.must_leave or not may_wait:
                    return self._clock.now() + timedelta(seconds=pause_s)
                found = await self._store.writes.load(work.write.uid)
                if found is None or found.state.is_ended:
                    raise StoreConflict("the write has ended")
                answer = await self._ask(work.write, scene)
        finally:
            stop()

    async def _is_told(self, work: Work, scene: Scene, answer: Answer) -> bool:
        """Note an answer; say whether it is the last word."""
        match answer.state:
            case BookingState.CANCELLED:
                await self._note_gone(work, scene, answer)
            case BookingState.DECLINED:
                decline = await self._why(scene, answer)
                await self._note(work, scene, answer.booking, answer.state, decline=decline)
            case BookingState.CONFIRMED:
                await self._note_accepted(work, scene, answer)
            case BookingState.TENTATIVE if work.write.state is not WriteState.TENTATIVE:
                await self._note_accepted(work, scene, answer)
            case BookingState.PENDING if work.write.hold is Hold.MOVED:
                await self._follow(work, scene, answer)
        if not work.write.state.is_ended and scene.over_at is not None and scene.over_at <= self._clock.now():
            await work.note(state=WriteState.DONE)  # nobody will answer any more
        return work.write.state.is_ended

    async def _follow(self, work: Work, scene: Scene, answer: Answer) -> None:
        """Tell where a meeting is that somebody has moved once more, since the room's copy is no news until it answers."""
        booking = answer.booking
        if booking is None or scene.recurrence is not None:
            return
        window = Window.around(booking.start_at, booking.end_at)
        if window == scene.order.content.window:
            return
        order = replace(scene.order, content=replace(scene.order.content, window=window))
        told = replace(booking, state=BookingState.PENDING, mark=work.write.uid)
        await work.note_with(
            lambda step: self._apply(scene, lambda stored: plan_moved(scene.room, stored, told), told, step),
            payload=order.encode(),
        )

    async def _note_accepted(self, work: Work, scene: Scene, answer: Answer) -> None:
        """Tell that the room has accepted, or said "perhaps", in the words of its own copy.

        They are those that the room shows from now on. While its copy does not show that answer nothing is noted: it soon will,
        and whoever reads it then notes it.
        """
        if answer.booking is None:
            return
        try:
            seen = await self._seen(scene, answer.booking)
        except (Unavailable, RoomBlocked, GraphRefused) as error:
            log.info("write.room_not_seen", reason=error.reason)
            return
        if work.write.hold is Hold.MOVED and (seen is None or _times(seen) != _times(answer.booking)):
            return  # its copy is where the meeting was
        if seen is None or seen.state is answer.state:
            await self._note(work, scene, seen or answer.booking, answer.state)

    async def _seen(self, scene: Scene, booking: Booking) -> Booking | None:
        """Read the room's own copy of a meeting; None when it has none."""
        window = Window.around(booking.start_at, booking.end_at)
        held, _ = await self._reading.view(scene.room, scene.tenant, window)
        return next((one for one in held if one.key == booking.key), None)

    async def _why(self, scene: Scene, answer: Answer) -> Decline:
        """Find out what may have made the room decline."""
        content = scene.order.content
        ours = "" if answer.booking is None else meeting_uid_of(answer.booking.calendar_uid)
        wanted = windows_of(content, until_at=reach_at(content, scene.room.horizon))
        in_the_way: list[Window] | None = None
        try:
            held, _ = await self._reading.view(scene.room, scene.tenant, span_around(wanted))
        except (Unavailable, RoomBlocked, GraphRefused) as error:
            log.info("write.room_not_seen", reason=error.reason)
        else:
            others = [booking for booking in held if meeting_uid_of(booking.calendar_uid) != ours]
            in_the_way = [conflict.theirs for conflict in find_conflicts(wanted, others, not_these=())]
        asked = Asked(window=content.window, is_series=content.recurrence is not None, last_on=scene.last_on)
        return why_declined(asked, now=self._clock.now(), zone_name=scene.room.time_zone, in_the_way=in_the_way)

    async def _note(
        self, work: Work, scene: Scene, booking: Booking | None, state: BookingState, *, decline: Decline | None = None
    ) -> None:
        """Tell a booking's state, and note how far the write has come by that."""
        told = None if booking is None else replace(booking, state=state, decline=decline)
        await work.note_with(
            lambda step: self._apply(scene, lambda stored: plan_told(scene, stored, told), told, step),
            state=WriteState.TENTATIVE if state is BookingState.TENTATIVE else WriteState.DONE,
            hold=Hold.PRESENT,  # its copy shows the time that was asked for
            booking_key=work.write.booking_key if booking is None else booking.key,
        )

    async def _note_gone(self, work: Work, scene: Scene, answer: Answer) -> None:
        """End a write whose meeting is no more, or does not invite the room any more."""
        key, event_id = work.write.booking_key, work.write.event_id
        gone = BookingNotFound("somebody has cancelled the booking meanwhile")

        async def forget(c: Connection) -> None:
            await drop_in(c, WriteUid(scene.order.made_by or work.write.uid))
            if answer.is_mailbox_gone:
                # The room may go on holding a meeting whose organizer is no more: its own calendar says.
                await journal.mark(
                    c, IntentKind.ROOM_COMPARE, scene.room.uid, scene.tenant.uid, priority=Priority.COMPARE
                )

        def plan(stored: Stored) -> RoomPlan:
            before = None if key is None else stored.get(key)
            if before is None or not before.takes_room or (answer.is_mailbox_gone and before.event_id != event_id):
                return RoomPlan()
            return RoomPlan(removals=(Removal(before.key, ChangeKind.REMOVED, Cause.CANCELLED),))

        await work.note_with(
            lambda step: self._apply(scene, plan, key, step, forget), state=WriteState.FAILED, failure=failure_of(gone)
        )

    async def _apply(
        self, scene: Scene, plan: Planner, about: Booking | BookingKey | None, *steps: Step
    ) -> Applied | None:
        """Carry out a plan for one booking, and the steps, in one transaction."""
        key = about.key if isinstance(about, Booking) else about
        scope = Scope(event_ids=(), keys=() if key is None else (key,))

        async def step(c: Connection) -> None:
            for part in steps:
                await part(c)

        return await self._store.calendars.apply(scene.room, plan, lease=None, scope=scope, step=step)


def _times(booking: Booking) -> tuple[datetime, datetime, bool]:
    return booking.start_at, booking.end_at, booking.is_all_day
