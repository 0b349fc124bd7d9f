"""What callers say about people in rooms: who came. Each request is checked here."""

from __future__ import annotations

from datetime import timedelta

from sidecar.aio.clock import Clock
from sidecar.api import frames
from sidecar.api.validate import Check
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.store.attendances import Attendances, CheckInWish

_BY_BYTES_MAX = 128
_AHEAD_MAX = timedelta(minutes=1)
"""A clock in a room may be ahead of ours by so much."""


class AttendanceCalls:
    """Carries the calls out."""

    def __init__(self, *, attendances: Attendances, clock: Clock) -> None:
        self._attendances = attendances
        self._clock = clock

    async def check_in(self, request: pb.CheckInRequest) -> bytes:
        """See the proto."""
        check = Check()
        tenant_id, room_id, key = check.booking("name", request.name)
        wish = self._read_wish(check, request)
        check.finish()
        attended = await self._attendances.check_in(tenant_id, room_id, key, wish)
        return frames.get_booking_response(attended.body)

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
