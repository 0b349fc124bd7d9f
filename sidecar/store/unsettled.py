"""What reads of Exchange may not say yet, because a write of ours has not ended.

A read may be quicker than the write that made what it shows. Until it is known that a booking stays it is told as pending,
and one that had to go again is not brought back by a read that was under way. These functions run inside somebody else's
transaction and never begin one of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sidecar.model.booking import Booking, BookingState, StoredBooking, booking_digest
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId, RoomUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.plan import RoomPlan, Touch, Upsert
from sidecar.model.room import Room
from sidecar.model.window import from_micros, to_micros
from sidecar.model.write import Hold, WriteState, WriteUid, transaction_id_of, write_of
from sidecar.store import journal
from sidecar.store.engine import Connection
from sidecar.store.organizer_events import load_known
from sidecar.store.write_steps import ENDED, answer_in, ask_in

_SETTLED = (BookingState.CONFIRMED, BookingState.TENTATIVE)
_ANSWERS = {
    BookingState.CONFIRMED: WriteState.DONE,
    BookingState.TENTATIVE: WriteState.TENTATIVE,
}
"""What a room's own copy of a meeting answers to the write that asked for it."""
_READING = timedelta(minutes=10)
"""By then a read of single events is over that was under way; what it showed is looked for once more."""
_SKEW = timedelta(seconds=5)
"""Reads are dated by the clock of a process, writes by that of the store."""


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """Of a room's writes that have not ended: by what their bookings are known, which bookings stay, and which may go."""

    writes: set[WriteUid] = field(default_factory=set)
    events: set[EventId] = field(default_factory=set)
    keys: set[BookingKey] = field(default_factory=set)
    staying: dict[BookingKey, WriteUid] = field(default_factory=dict)
    releasing: set[BookingKey] = field(default_factory=set)
    frozen: set[EventId] = field(default_factory=set)
    freezing: set[WriteUid] = field(default_factory=set)
    moving: set[WriteUid] = field(default_factory=set)

    def holds(self, booking: Booking) -> bool:
        """Tell whether a booking is one that such a write makes or changes."""
        return (
            booking.key in self.keys
            or booking.event_id in self.events
            or booking.master_id in self.events
            or write_of(booking.transaction_id) in self.writes
        )

    def freezes(self, booking: Booking | StoredBooking | None) -> bool:
        """Tell whether a booking is to stay as it was, or not to appear yet."""
        if booking is None or not self.freezing:
            return False
        if isinstance(booking, Booking) and booking.mark in self.freezing:
            return True
        return booking.event_id in self.frozen or booking.master_id in self.frozen


async def hold_back(
    c: Connection,
    room: Room,
    plan: RoomPlan,
    stored: Mapping[BookingKey, StoredBooking],
    *,
    began_at: datetime | None = None,
) -> RoomPlan:
    """Return a plan without what may not be said yet, and with what only we know; note what it answers to writes.

    Args:
        began_at: when the read began that the plan follows from; None: nobody knows, but not long ago.
    """
    if not plan.upserts and not plan.removals:
        return plan
    plan = await _complete(c, room.uid, plan, stored)
    unsettled = await _load(c, room.uid)
    failed = await _load_failed(c, room, plan, began_at)
    upserts: list[Upsert] = []
    touches = list(plan.touches)
    for upsert in plan.upserts:
        booking = upsert.booking
        if write_of(booking.transaction_id) in failed or unsettled.freezes(booking):
            continue
        if (waiting := unsettled.staying.get(booking.key)) is not None:
            if waiting in unsettled.moving:
                # Whether it is the answer to the new time is found out by whoever asks the organizer's calendar.
                if booking.mark == waiting:
                    upserts.append(upsert)
                else:
                    await ask_in(c, waiting, room.tenant_uid)
                continue
            if booking.state in _ANSWERS:
                await answer_in(c, waiting, _ANSWERS[booking.state])
            elif not booking.state.takes_room:
                await ask_in(c, waiting, room.tenant_uid)
            if booking.state is BookingState.DECLINED:
                continue  # why, is found out by whoever asks the organizer's calendar; then it is told
        if booking.state not in _SETTLED or not unsettled.holds(booking):
            upserts.append(upsert)
            continue
        held = replace(booking, state=BookingState.PENDING)
        digest = booking_digest(held)
        before = stored.get(held.key)
        if before is not None and before.digest == digest:
            touches.append(Touch(held.key, held.event_id, held.master_id, held.change_key))
        else:
            upserts.append(replace(upsert, booking=held, digest=digest))
    removals = []
    for removal in plan.removals:
        if unsettled.freezes(stored.get(removal.key)):
            continue
        if (waiting := unsettled.staying.get(removal.key)) is None or removal.kind is ChangeKind.LEFT_SCOPE:
            removals.append(removal)
        else:
            # The room may not know of it yet, or it has declined: the organizer's calendar tells.
            await ask_in(c, waiting, room.tenant_uid)
    whole = RoomPlan(upserts=tuple(upserts), removals=tuple(removals), touches=tuple(touches))
    return _with_cause(whole, unsettled.releasing)


def _with_cause(plan: RoomPlan, releasing: Collection[BookingKey]) -> RoomPlan:
    """Tell of bookings that go while they are being released that they are."""
    if not releasing:
        return plan
    return replace(
        plan,
        upserts=tuple(
            replace(one, cause=Cause.RELEASED)
            if one.kind is ChangeKind.REMOVED and one.booking.key in releasing
            else one
            for one in plan.upserts
        ),
        removals=tuple(
            replace(one, cause=Cause.RELEASED) if one.kind is ChangeKind.REMOVED and one.key in releasing else one
            for one in plan.removals
        ),
    )


async def _complete(
    c: Connection, room_uid: RoomUid, plan: RoomPlan, stored: Mapping[BookingKey, StoredBooking]
) -> RoomPlan:
    """Return a plan with what a room's copies of meetings of ours do not show: that they are ours, and what belongs to them."""
    known = await load_known(c, room_uid, {upsert.booking.calendar_uid for upsert in plan.upserts})
    if not known:
        return plan
    upserts: list[Upsert] = []
    touches = list(plan.touches)
    for upsert in plan.upserts:
        ours = known.get(upsert.booking.calendar_uid)
        if ours is None:
            upserts.append(upsert)
            continue
        booking = replace(
            upsert.booking,
            transaction_id=transaction_id_of(ours.write_uid),
            annotations=ours.annotations,
        )
        digest = booking_digest(booking)
        before = stored.get(booking.key)
        if before is not None and before.digest == digest:
            touches.append(Touch(booking.key, booking.event_id, booking.master_id, booking.change_key))
        else:
            upserts.append(replace(upsert, booking=booking, digest=digest))
    return replace(plan, upserts=tuple(upserts), touches=tuple(touches))


async def _load(c: Connection, room_uid: RoomUid) -> _Unsettled:
    unsettled = _Unsettled()
    for uid, hold, event_id, key in await c.fetch(
        f"SELECT uid, hold, event_id, booking_key FROM writes WHERE room_uid = $1 AND hold > 0 AND state NOT IN ({ENDED})",  # noqa: S608
        room_uid,
    ):
        if hold == Hold.PENDING:
            unsettled.writes.add(WriteUid(uid))
            if event_id is not None:
                unsettled.events.add(EventId(event_id))
            if key is not None:
                unsettled.keys.add(BookingKey(key))
        elif key is not None and hold == Hold.RELEASING:
            unsettled.releasing.add(BookingKey(key))
        elif hold == Hold.FROZEN:
            unsettled.freezing.add(WriteUid(uid))
            if event_id is not None:
                unsettled.frozen.add(EventId(event_id))
        elif key is not None:
            unsettled.staying[BookingKey(key)] = WriteUid(uid)
            if hold == Hold.MOVED:
                unsettled.moving.add(WriteUid(uid))
    return unsettled


async def _load_failed(c: Connection, room: Room, plan: RoomPlan, began_at: datetime | None) -> set[WriteUid | None]:
    """Return which of the writes that made a plan's bookings had failed after the read of them began; None is not among them.

    What a later read shows is there: somebody has restored it, or Exchange did not show it for a moment.
    """
    read_at = c.now - _READING if began_at is None else began_at - _SKEW
    makers = {write_of(upsert.booking.transaction_id) for upsert in plan.upserts} - {None}
    failed: set[WriteUid | None] = set()
    if not makers:
        return failed
    found = await c.fetch(
        "SELECT uid, updated_at FROM writes WHERE room_uid = $1 AND state = $2 AND updated_at >= $3",
        room.uid,
        WriteState.FAILED.value,
        to_micros(read_at),
    )
    for uid, failed_at in found:
        if uid not in makers:
            continue
        failed.add(WriteUid(uid))
        if began_at is None:
            ready_at = from_micros(failed_at) + _READING
            kind, priority = IntentKind.ROOM_COMPARE, Priority.COMPARE
            await journal.mark(c, kind, room.uid, room.tenant_uid, priority=priority, ready_at=ready_at)
    return failed
