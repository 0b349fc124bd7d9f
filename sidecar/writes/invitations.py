"""A meeting in a person's calendar, with the room invited: what is needed to go on with it, and what the copy tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.model.booking import Booking, BookingState, booking_digest
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.event import EventContent
from sidecar.model.plan import Removal, RoomPlan, Upsert
from sidecar.model.recurrence import Recurrence
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.sync.plan import Stored
from sidecar.writes.rrule import occurrence_dates

_DAY_OF_ANY_ZONE = timedelta(days=2)
"""By then a day that has begun anywhere is over everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteOrder:
    """What is needed to go on with a meeting: the payload of its write.

    Attributes:
        organizer: address of the person whose calendar it is made in.
        room_address, room_name: by which the room is invited.
        calendar_no: of the room when it was begun; a room may be given another mailbox meanwhile.
        made_by: the write that made the meeting, if this one changes all of it; "": this one.
    """

    organizer: str = field(repr=False)
    room_address: str
    room_name: str
    calendar_no: int
    content: EventContent = field(repr=False)
    made_by: str = ""

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(payload: bytes) -> InviteOrder:
        """Read what `encode` wrote."""
        return msgspec.msgpack.decode(payload, type=InviteOrder)

    @property
    def room(self) -> Mapping[str, str]:
        """The room as an attendee."""
        return {"address": self.room_address, "name": self.room_name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A meeting on its way: for which room, of which tenant, and what was asked for."""

    room: Room
    tenant: Tenant
    order: InviteOrder

    @property
    def ref(self) -> TenantRef:
        """The tenant, as Graph's client wants it."""
        return ref_of(self.tenant)

    @property
    def recurrence(self) -> Recurrence | None:
        """None for a single meeting."""
        return self.order.content.recurrence

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those by which the room was invited, and is known by now."""
        return self.order.room_address, self.room.mailbox

    @property
    def last_on(self) -> date | None:
        """The day of the last occurrence; None when there is none."""
        first_on = self.order.content.window.start_at.astimezone(ZoneInfo(self.order.content.time_zone)).date()
        if self.recurrence is None:
            return first_on
        if self.recurrence.is_endless:
            return None
        return max(occurrence_dates(self.recurrence, first_on), default=first_on)

    @property
    def over_at(self) -> datetime | None:
        """When the last occurrence is over, at the latest; None: never."""
        window = self.order.content.window
        if self.recurrence is None:
            return window.end_at
        last_on = self.last_on
        if last_on is None:
            return None
        return datetime.combine(last_on, time(), tzinfo=UTC) + _DAY_OF_ANY_ZONE + (window.end_at - window.start_at)


def plan_moved(room: Room, stored: Stored, booking: Booking) -> RoomPlan:
    """Decide what is different in the copy when a meeting is at another time, which the room has not answered yet.

    What the copy knows of the room's own item stays: that will be moved, too.
    """
    before = stored.get(booking.key)
    if room.horizon is None or not room.horizon.overlaps(booking.start_at, booking.end_at):
        return RoomPlan(removals=() if before is None else (Removal(before.key, ChangeKind.LEFT_SCOPE, Cause.NONE),))
    if before is not None:
        booking = replace(booking, event_id=before.event_id, master_id=before.master_id, change_key=before.change_key)
    return RoomPlan(upserts=(Upsert(booking, booking_digest(booking), ChangeKind.UPSERTED, Cause.NONE),))


def plan_told(scene: Scene, stored: Stored, booking: Booking | None) -> RoomPlan:
    """Decide what is different in the copy by what is known of a booking now.

    One that was declined has the organizer's id there: what the room once held of it is gone, and a late notice of that is not
    to take this away, too.
    """
    horizon = scene.room.horizon
    if booking is None or horizon is None or not horizon.overlaps(booking.start_at, booking.end_at):
        return RoomPlan()
    before = stored.get(booking.key)
    if before is not None and booking.state is BookingState.PENDING:
        return RoomPlan()  # a read of the room's calendar was quicker, and knows more
    took_room = before is not None and before.takes_room
    upsert = Upsert(booking, booking_digest(booking), None, Cause.NONE)
    if booking.state.takes_room:
        upsert = replace(upsert, kind=ChangeKind.UPSERTED)
    elif took_room:
        upsert = replace(upsert, kind=ChangeKind.REMOVED, cause=Cause.DECLINED)
    return RoomPlan(upserts=(upsert,))
