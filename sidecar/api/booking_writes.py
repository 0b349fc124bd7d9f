"""The calls of BookingService that write. What is to be written is checked here; `sidecar.writes` carries it out."""

from __future__ import annotations

from sidecar.aio.clock import Clock
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.boundary import answering_s
from sidecar.api.write_requests import Wish, check_time, content_of, organizer_of, read_create
from sidecar.api.written_tokens import WrittenTokens
from sidecar.errors import BookingNotFound, InvalidArgument, OutcomeUnknown, SidecarError
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.model.booking import Booking, booking_digest
from sidecar.model.event import EventContent
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.room import Room
from sidecar.model.write import Hold, Write, WriteKind
from sidecar.store.store import Store
from sidecar.store.writes import NewWrite
from sidecar.writes.creator import CreateOrder
from sidecar.writes.driver import Goal
from sidecar.writes.failures import refusal_of
from sidecar.writes.invitations import InviteOrder
from sidecar.writes.writing import Writing


class BookingWriter:
    """Answers the calls that write."""

    def __init__(self, *, store: Store, writing: Writing, tokens: WrittenTokens, clock: Clock) -> None:
        self._store = store
        self._writing = writing
        self._tokens = tokens
        self._clock = clock
        self._codec = ProtoBookingCodec()

    async def create_booking(self, request: pb.CreateBookingRequest) -> pb.CreateBookingResponse:
        """See the proto."""
        wish = read_create(request)
        room = await self._store.rooms.load(wish.tenant_id, wish.room_id)
        try:
            organizer = organizer_of(wish.booking, wish.mode or room.settings.write_mode, room=room)
            content = content_of(wish.booking, wish.window, wish.rrule, room=room)
            check_time(wish.window, is_all_day=wish.booking.all_day, now=self._clock.now())
        except InvalidArgument:
            # Time and settings move on. What was begun before that may be done by now.
            write = None if request.validate_only else await self._repeat(wish, room)
            if write is None:
                raise
        else:
            await self.refuse_blocked(room, wish.request_id)
            if request.validate_only:
                return await self._validate(wish, room, content, organizer)
            new = _new_write(wish, room, content, organizer)
            write = await self._writing.driver.submit(new, goal=_goal(wish, new.kind), wait_s=self.wait_s(wish.wait_s))
        body = await self.told(write, wish.tenant_id, wish.room_id)
        return pb.CreateBookingResponse(
            booking=pb.Booking.FromString(body), written_at_token=await self._tokens.give(wish.tenant_id)
        )

    async def _repeat(self, wish: Wish, room: Room) -> Write | None:
        """Go on with what an equal request began; None: there was none. Raises what `submit` and `refuse_blocked` do."""
        known = await self._store.writes.find(room.tenant_uid, wish.request_id)
        if known is None:
            return None
        await self.refuse_blocked(room, wish.request_id)
        return await self._writing.driver.repeat(
            room.tenant_uid,
            wish.request_id,
            wish.digest,
            goal=_goal(wish, known.kind),
            wait_s=self.wait_s(wish.wait_s),
        )

    async def refuse_blocked(self, room: Room, request_id: str) -> None:
        """Refuse a request while something known stands in its way, unless it is a repetition.

        What was begun before that may be done by now, so a repetition is never told that it was not.

        Raises:
            OutcomeUnknown: it was begun, and cannot be brought to its end now.
            SidecarError: why nothing can be written.
        """
        refusal = refusal_of(room)
        if refusal is None:
            return
        write = await self._store.writes.find(room.tenant_uid, request_id)
        if write is None:
            raise refusal
        if not write.state.is_ended:
            raise OutcomeUnknown(
                "whether it was done is not known yet; send it again to learn what came of it",
                details={"cause": refusal.reason},
            )

    async def _validate(
        self, wish: Wish, room: Room, content: EventContent, organizer: str
    ) -> pb.CreateBookingResponse:
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        if organizer:
            await self._writing.inviter.check(tenant, organizer)
        await self._writing.room_creator.check(room, tenant, content, must_look=True)
        told = pb.Booking(origin=pb.Booking.ORIGIN_API)
        told.MergeFrom(wish.booking)
        told.time_zone = content.time_zone
        return pb.CreateBookingResponse(booking=told)

    def wait_s(self, wanted_s: float) -> float:
        """Return how long to wait for a write: as long as the caller wants to, within the deadline of the call."""
        left_s = answering_s(self._clock)
        return wanted_s if left_s is None else min(wanted_s, left_s)

    async def told(self, write: Write, tenant_id: TenantId, room_id: RoomId) -> bytes:
        """Return the booking of a write, encoded: as the copy has it, or, where the copy does not reach, Exchange.

        Raises:
            BookingNotFound: somebody has removed it since.
        """
        if write.booking_key is not None:
            body = await self._store.calendars.load_body(tenant_id, room_id, write.booking_key)
            if body is not None:
                return body
        room = await self._store.rooms.load(tenant_id, room_id)
        booking = await self._look_up(room, write)
        if booking is None:
            raise BookingNotFound("it was made, and has been removed since")
        return self._codec.encode(booking, room_name=room.name, revision=0, digest=booking_digest(booking))

    async def _look_up(self, room: Room, write: Write) -> Booking | None:
        """Return the booking of a write as Exchange has it.

        Raises:
            OutcomeUnknown: it cannot be read now. It was made, so no error may say that it was not.
        """
        try:
            refusal = refusal_of(room)
            if refusal is not None:
                raise refusal
            if write.kind is WriteKind.REINVITE and write.booking_key is not None:
                # Beyond the copy a booking is known by the write that made it.
                made = await self._store.writes.find_invitation(room.uid, write.booking_key)
                return None if made is None else await self._writing.inviter.look_up(room, made)
            maker = self._writing.inviter if write.kind is WriteKind.INVITE else self._writing.room_creator
            return await maker.look_up(room, write)
        except SidecarError as error:
            raise OutcomeUnknown(
                "it was made, and cannot be read just now; send it again", details={"cause": error.reason}
            ) from error


def _goal(wish: Wish, kind: WriteKind) -> Goal:
    """Return how far a caller waits who does not say: in the room's own calendar nobody but us decides, and soon."""
    must_wait = kind is WriteKind.CREATE if wish.must_be_answered is None else wish.must_be_answered
    return Goal.ENDED if must_wait else Goal.TAKEN


def _new_write(wish: Wish, room: Room, content: EventContent, organizer: str) -> NewWrite:
    """Return what is to be carried out.

    Args:
        organizer: in whose calendar; "" for the room's own.
    """
    if organizer:
        kind, hold = WriteKind.INVITE, Hold.PRESENT
        payload = InviteOrder(
            organizer=organizer,
            room_address=room.mailbox,
            room_name=room.display_name or room.mailbox,
            calendar_no=room.calendar_no,
            content=content,
        ).encode()
    else:
        kind, hold = WriteKind.CREATE, Hold.PENDING
        payload = CreateOrder.of(room, content).encode()
    return NewWrite(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        request_id=wish.request_id,
        kind=kind,
        digest=wish.digest,
        payload=payload,
        hold=hold,
    )
