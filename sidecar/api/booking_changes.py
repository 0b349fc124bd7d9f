"""The calls of BookingService that change and cancel. `change_requests` checks them, `sidecar.writes` carries them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.aio.clock import Clock
from sidecar.api.booking_writes import BookingWriter
from sidecar.api.change_requests import ChangeWish, check_new_time, masked, read_cancel, read_update
from sidecar.api.times import set_time
from sidecar.api.written_tokens import WrittenTokens
from sidecar.errors import BookingNotFound, BookingNotOurs, EtagMismatch, FieldViolation, InvalidArgument
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2
from sidecar.model.booking import Booking, StoredBooking, booking_digest, etag_of
from sidecar.model.ids import EventId
from sidecar.model.organizer_event import OrganizerEvent
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.model.write import Write, WriteKind
from sidecar.store.store import Store
from sidecar.store.writes import NewWrite
from sidecar.writes.canceller import was_missing
from sidecar.writes.changer import decode_lost
from sidecar.writes.changes import Scope
from sidecar.writes.driver import Goal
from sidecar.writes.failures import refusal_of
from sidecar.writes.recaller import RecallOrder
from sidecar.writes.reinviter import ReinviteOrder
from sidecar.writes.rewrites import CancelOrder, Cut, Rewrite, UpdateOrder, encode_order
from sidecar.writes.splits import Lost
from sidecar.writes.writing import Writing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Invited:
    """A booking that was made through the API in a person's calendar.

    Attributes:
        calendar_uid: of the booking.
        etag: its version.
        master_id: the room's own id of the series that it belongs to.
        window: when it takes place.
    """

    event: OrganizerEvent
    calendar_uid: str
    etag: str
    master_id: EventId | None
    window: Window

    def check(self, order: UpdateOrder | CancelOrder) -> None:
        """Check what does not need Exchange.

        Raises:
            EtagMismatch: it is not the version that the caller knows.
            BookingNotOurs: all of a series can be changed and cancelled there, or one of its bookings.
        """
        if order.etag and order.etag != self.etag:
            raise EtagMismatch("somebody has changed it meanwhile; read it and decide again")
        if self.master_id is not None and order.scope is Scope.FOLLOWING:
            raise BookingNotOurs("of a series in a person's calendar all can be changed and cancelled, or one")

    def order_of(self, order: UpdateOrder) -> ReinviteOrder:
        """Return how it is changed.

        Raises:
            InvalidArgument: annotations belong to all of a meeting. What `check` raises.
        """
        self.check(order)
        told = ReinviteOrder(
            key=order.key,
            calendar_uid=self.calendar_uid,
            is_in_series=self.master_id is not None,
            scope=order.scope,
            window=self.window,
            is_versioned=bool(order.etag),
            change=order.change,
        )
        if order.change.annotations is not None and not told.is_whole:
            text = "belong to the whole series in a person's calendar: say the scope SERIES"
            raise InvalidArgument([FieldViolation("booking.annotations", text)])
        return told


class BookingChanger:
    """Answers the calls that change and cancel."""

    def __init__(
        self, *, store: Store, writing: Writing, writer: BookingWriter, tokens: WrittenTokens, clock: Clock
    ) -> None:
        self._store = store
        self._writing = writing
        self._writer = writer
        self._tokens = tokens
        self._clock = clock

    async def update_booking(self, request: pb.UpdateBookingRequest) -> pb.UpdateBookingResponse:
        """See the proto."""
        wish, order = read_update(request)
        room = await self._room(wish)
        await self._check_time(wish, order, room)
        invited = await self._invited(wish, room)
        if request.validate_only:
            return await self._preview(request, wish, order, room, invited)
        if invited is None:
            write = await self._submit(wish, room, WriteKind.UPDATE)
        else:
            write = await self._reinvite(request, wish, order, room, invited)
        body = await self._writer.told(write, wish.tenant_id, wish.room_id)
        return pb.UpdateBookingResponse(
            booking=pb.Booking.FromString(body),
            written_at_token=await self._tokens.give(wish.tenant_id),
            lost_exceptions=_lost_to_proto(decode_lost(write.answer)),
        )

    async def cancel_booking(self, request: pb.CancelBookingRequest) -> pb.CancelBookingResponse:
        """See the proto."""
        wish, order = read_cancel(request)
        room = await self._room(wish)
        told = pb.Booking(name=request.name, state=pb.Booking.STATE_CANCELLED)
        recall = await self._recall(wish, order, room)
        if request.validate_only and recall is not None:
            return pb.CancelBookingResponse(booking=told)
        if request.validate_only:
            tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
            is_there = await self._writing.canceller.check(room, tenant, order)
            return pb.CancelBookingResponse(booking=told if is_there else None)
        if recall is None:
            write = await self._submit(wish, room, WriteKind.CANCEL)
        else:
            write = await self._writing.driver.submit(recall, goal=Goal.ENDED, wait_s=self._writer.wait_s(wish.wait_s))
        return pb.CancelBookingResponse(
            booking=None if was_missing(write) else told,
            written_at_token=await self._tokens.give(wish.tenant_id),
        )

    async def _recall(self, wish: ChangeWish, order: CancelOrder, room: Room) -> NewWrite | None:
        """Return how a booking of ours in a person's calendar is cancelled; None when it is none.

        Raises:
            EtagMismatch: it is not the version that the caller knows.
            BookingNotOurs: only all of a series, or one of its bookings, can be cancelled there.
        """
        invited = await self._invited(wish, room)
        if invited is None:
            return None
        invited.check(order)
        is_one = invited.master_id is not None and order.scope is Scope.OCCURRENCE
        recall = RecallOrder(
            organizer=invited.event.mailbox,
            event_id=invited.event.event_id,
            made_by=invited.event.write_uid,
            key=order.key,
            master_id=invited.master_id,
            occurrence_uid=invited.calendar_uid if is_one else "",
            window=invited.window,
            comment=order.comment,
        )
        return NewWrite(
            tenant_uid=room.tenant_uid,
            room_uid=room.uid,
            request_id=wish.request_id,
            kind=WriteKind.RECALL,
            digest=wish.digest,
            payload=recall.encode(),
            booking_key=order.key,
        )

    async def _reinvite(
        self, request: pb.UpdateBookingRequest, wish: ChangeWish, order: UpdateOrder, room: Room, invited: _Invited
    ) -> Write:
        """Change a booking of ours in a person's calendar, or wait for what an equal request began."""
        goal = Goal.ENDED if request.completion == common_pb2.WRITE_COMPLETION_ROOM_ANSWERED else Goal.TAKEN
        wait_s = self._writer.wait_s(wish.wait_s)
        driver = self._writing.driver
        begun = await driver.repeat(room.tenant_uid, wish.request_id, wish.digest, goal=goal, wait_s=wait_s)
        if begun is not None:
            return begun
        new = NewWrite(
            tenant_uid=room.tenant_uid,
            room_uid=room.uid,
            request_id=wish.request_id,
            kind=WriteKind.REINVITE,
            digest=wish.digest,
            payload=invited.order_of(order).encode(),
            booking_key=order.key,
        )
        return await driver.submit(new, goal=goal, wait_s=wait_s)

    async def _invited(self, wish: ChangeWish, room: Room) -> _Invited | None:
        """Find the meeting of ours behind a booking, also one that the copy does not reach; None when it is not ours."""
        stored: StoredBooking | Booking | None = await self._store.calendars.load_one(room.uid, wish.key)
        body = await self._store.calendars.load_body(wish.tenant_id, wish.room_id, wish.key)
        if isinstance(stored, StoredBooking) and body is not None:
            uid, etag = pb.Booking.FromString(body).calendar_uid, etag_of(stored.digest)
        else:
            write = await self._store.writes.find_invitation(room.uid, wish.key)
            stored = None if write is None else await self._writing.inviter.look_up(room, write)
            if stored is None:
                return None
            uid, etag = stored.calendar_uid, etag_of(booking_digest(stored))
        event = await self._store.organizer_events.find(room.uid, uid)
        if event is None:
            return None
        window = Window.around(stored.start_at, stored.end_at)
        return _Invited(event=event, calendar_uid=uid, etag=etag, master_id=stored.master_id, window=window)

    async def _room(self, wish: ChangeWish) -> Room:
        room = await self._store.rooms.load(wish.tenant_id, wish.room_id)
        refusal = refusal_of(room)
        if refusal is not None:
            raise refusal
        return room

    async def _check_time(self, wish: ChangeWish, order: UpdateOrder, room: Room) -> None:
        """Refuse what lies in the past, unless it is a repetition of what was begun before that."""
        try:
            check_new_time(order.change, now=self._clock.now())
        except InvalidArgument:
            if not await self._store.writes.is_known(room.tenant_uid, wish.request_id):
                raise

    async def _submit(self, wish: ChangeWish, room: Room, kind: WriteKind) -> Write:
        new = NewWrite(
            tenant_uid=room.tenant_uid,
            room_uid=room.uid,
            request_id=wish.request_id,
            kind=kind,
            digest=wish.digest,
            payload=encode_order(wish.order),
            booking_key=wish.key,
        )
        return await self._writing.driver.submit(new, goal=Goal.ENDED, wait_s=self._writer.wait_s(wish.wait_s))

    async def _preview(
        self,
        request: pb.UpdateBookingRequest,
        wish: ChangeWish,
        order: UpdateOrder,
        room: Room,
        invited: _Invited | None,
    ) -> pb.UpdateBookingResponse:
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        plan: Rewrite | Cut
        if invited is None:
            plan = await self._writing.changer.check(room, tenant, order)
        else:
            plan = await self._writing.reinviter.check(room, tenant, invited.order_of(order))
        body = await self._store.calendars.load_body(wish.tenant_id, wish.room_id, wish.key)
        if body is None:
            raise BookingNotFound("there is no such booking")
        told = pb.Booking.FromString(body)
        for path in ("etag", "revision", *request.update_mask.paths):
            told.ClearField(path)  # type: ignore[arg-type]  # checked: names of fields
        told.MergeFrom(masked(request))
        return pb.UpdateBookingResponse(booking=told, lost_exceptions=_lost_to_proto(plan.lost))


def _lost_to_proto(lost: Sequence[Lost]) -> list[pb.LostException]:
    return [_one_lost(one) for one in lost]


def _one_lost(lost: Lost) -> pb.LostException:
    told = pb.LostException(cancelled=lost.window is None)
    set_time(told.original_start_time, lost.original_start_at)
    if lost.window is not None:
        set_time(told.time.start_time, lost.window.start_at)
        set_time(told.time.end_time, lost.window.end_at)
    return told
