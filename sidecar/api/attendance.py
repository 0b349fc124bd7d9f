"""What callers say about people in rooms: who came, and that nobody did or everybody has left. Each request is checked here."""

from __future__ import annotations

import base64
from datetime import timedelta

from sidecar.aio.clock import Clock
from sidecar.api.booking_writes import BookingWriter
from sidecar.api.validate import Check
from sidecar.api.write_requests import COMMENT_CHARS_MAX, WAIT_DEFAULT_S, digest_of, read_request_id
from sidecar.api.written_tokens import WrittenTokens
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.model.write import Hold, WriteKind
from sidecar.store.attendances import CheckInWish
from sidecar.store.store import Store
from sidecar.store.writes import NewWrite
from sidecar.writes.driver import Goal
from sidecar.writes.releaser import ReleaseOrder
from sidecar.writes.writing import Writing

_BY_BYTES_MAX = 128
_AHEAD_MAX = timedelta(minutes=1)
"""A clock in a room may be ahead of ours by so much."""
_COMMENTS = {
    pb.ReleaseBookingRequest.REASON_UNSPECIFIED: "The room was released.",
    pb.ReleaseBookingRequest.REASON_NO_SHOW: "The room was released because nobody checked in.",
    pb.ReleaseBookingRequest.REASON_ENDED_EARLY: "The room was released because the meeting was over early.",
}
"""What an organizer reads who is told nothing else."""
_NO_VERSION = b"\0"
"""Equals no digest."""


class AttendanceCalls:
    """Carries the calls out."""

    def __init__(
        self, *, store: Store, writing: Writing, writer: BookingWriter, tokens: WrittenTokens, clock: Clock
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._writing = writing
        self._writer = writer
        self._clock = clock

    async def check_in(self, request: pb.CheckInRequest) -> pb.CheckInResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id, key = check.booking("name", request.name)
        wish = self._read_wish(check, request)
        check.finish()
        attended = await self._store.attendances.check_in(tenant_id, room_id, key, wish)
        return pb.CheckInResponse(
            booking=pb.Booking.FromString(attended.body),
            written_at_token=await self._tokens.give(tenant_id),
        )

    def _read_wish(self, check: Check, request: pb.CheckInRequest) -> CheckInWish:
        if request.undo:
            for field in ("check_in_by", "check_in_time"):
                if getattr(request, field) != getattr(pb.CheckInRequest(), field):
                    check.refuse(field, "must be empty with undo")
            return CheckInWish(is_undo=True)
        at = None
        if request.HasField("check_in_time"):
            at = check.instant("check_in_time", request.check_in_time)
            if at > self._clock.now() + _AHEAD_MAX:
                check.refuse("check_in_time", "must not be in the future")
        by = request.check_in_by
        if len(by.encode()) > _BY_BYTES_MAX:
            check.refuse("check_in_by", f"must have {_BY_BYTES_MAX} bytes at most")
        elif "@" in by or not by.isprintable():
            check.refuse(
                "check_in_by", "must be an id without @ and without control characters, not a person's address"
            )
        return CheckInWish(by=by, at=at)

    async def release_booking(self, request: pb.ReleaseBookingRequest) -> pb.ReleaseBookingResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id, key = check.booking("name", request.name)
        etag = check.etag("etag", request.etag)
        comment = check.text("comment", request.comment, COMMENT_CHARS_MAX)
        check.choice("reason", request.reason, pb.ReleaseBookingRequest.Reason.values())
        request_id = read_request_id(check, request.request_id)
        check.finish()
        room = await self._store.rooms.load(tenant_id, room_id)
        await self._writer.refuse_blocked(room, request_id)
        order = ReleaseOrder(
            key=key,
            released_at=self._clock.now(),
            digest=_digest_of_version(etag),
            comment=comment or _COMMENTS[request.reason],
            is_missing_fine=request.allow_missing,
        )
        new = NewWrite(
            tenant_uid=room.tenant_uid,
            room_uid=room.uid,
            request_id=request_id,
            kind=WriteKind.RELEASE,
            digest=digest_of(request),
            payload=order.encode(),
            hold=Hold.RELEASING,
            booking_key=key,
        )
        await self._writing.driver.submit(new, goal=Goal.ENDED, wait_s=self._writer.wait_s(WAIT_DEFAULT_S))
        body = await self._store.calendars.load_body(tenant_id, room_id, key)
        return pb.ReleaseBookingResponse(
            booking=None if body is None else pb.Booking.FromString(body),
            written_at_token=await self._tokens.give(tenant_id),
        )


def _digest_of_version(etag: str) -> bytes:
    """Return the digest that a version stands for; an empty one stands for any."""
    if not etag:
        return b""
    try:
        return base64.b64decode(etag + "=" * (-len(etag) % 4), altchars=b"-_", validate=True) or _NO_VERSION
    except ValueError:
        return _NO_VERSION
