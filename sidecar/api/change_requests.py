"""Requests to change and to cancel bookings, checked as far as can be without asking Exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.api.validate import Check
from sidecar.api.write_requests import (
    COMMENT_CHARS_MAX,
    WAIT_DEFAULT_S,
    WRITABLE,
    check_time,
    check_words,
    digest_of,
    invited_of,
    read_request_id,
    read_time,
    read_wait_s,
)
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2
from sidecar.model.ids import BookingKey, RoomId, TenantId
from sidecar.writes.changes import Change, Scope
from sidecar.writes.rewrites import CancelOrder, UpdateOrder
from sidecar.writes.rrule import RULE_CHARS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWish:
    """A checked UpdateBooking or CancelBooking.

    Attributes:
        digest: equal for requests that ask for the same.
        wait_s: how long the caller wants to wait at most.
    """

    tenant_id: TenantId
    room_id: RoomId
    request_id: str
    digest: bytes
    order: UpdateOrder | CancelOrder = field(repr=False)
    wait_s: float = WAIT_DEFAULT_S

    @property
    def key(self) -> BookingKey:
        """The booking that is named."""
        return self.order.key


def read_update(request: pb.UpdateBookingRequest) -> tuple[ChangeWish, UpdateOrder]:
    """Read a request.

    Raises:
        InvalidArgument: with all broken rules.
    """
    check = Check()
    tenant_id, room_id, key = check.booking("booking.name", request.booking.name)
    scope = _scope(check, request.scope)
    change = _change(check, request, scope)
    check.choice("completion", request.completion, common_pb2.WriteCompletion.values())
    order = UpdateOrder(key=key, scope=scope, etag=check.etag("booking.etag", request.booking.etag), change=change)
    wish = ChangeWish(
        tenant_id=tenant_id,
        room_id=room_id,
        request_id=read_request_id(check, request.request_id),
        digest=digest_of(request),
        order=order,
        wait_s=read_wait_s(check, request),
    )
    check.finish()
    return wish, order


def read_cancel(request: pb.CancelBookingRequest) -> tuple[ChangeWish, CancelOrder]:
    """Read a request; see `read_update`."""
    check = Check()
    tenant_id, room_id, key = check.booking("name", request.name)
    check.text("comment", request.comment, COMMENT_CHARS_MAX)
    order = CancelOrder(
        key=key,
        scope=_scope(check, request.scope),
        etag=check.etag("etag", request.etag),
        comment=request.comment,
        is_missing_allowed=request.allow_missing,
    )
    wish = ChangeWish(
        tenant_id=tenant_id,
        room_id=room_id,
        request_id=read_request_id(check, request.request_id),
        digest=digest_of(request),
        order=order,
    )
    check.finish()
    return wish, order


def check_new_time(change: Change, *, now: datetime) -> None:
    """Refuse a change to a time in the past, or too far ahead; what has begun may end earlier or later.

    Raises:
        InvalidArgument.
    """
    if change.window is not None:
        # A whole day may have begun, and so may what is under way.
        check_time(change.window, is_all_day=True, now=now)


def masked(request: pb.UpdateBookingRequest) -> pb.Booking:
    """Return what a request asks a booking to say, and nothing else."""
    told = pb.Booking()
    FieldMask(paths=sorted(WRITABLE & set(request.update_mask.paths))).MergeMessage(request.booking, told)
    return told


def _scope(check: Check, number: int) -> Scope:
    check.choice("scope", number, common_pb2.SeriesScope.values())
    return Scope(number) if number in set(Scope) else Scope.OCCURRENCE


def _change(check: Check, request: pb.UpdateBookingRequest, scope: Scope) -> Change:
    paths = set(request.update_mask.paths)
    if not paths and not request.rrule:
        check.refuse("update_mask", "must name what to change")
    elif not paths <= WRITABLE:
        check.refuse("update_mask", f"must hold nothing but {', '.join(sorted(WRITABLE))}")
    if "all_day" in paths and "time" not in paths:
        check.refuse("update_mask", "must name time with all_day")
    check.text("rrule", request.rrule, RULE_CHARS_MAX)
    if request.rrule and "time" not in paths:
        check.refuse("rrule", "needs booking.time, the time of the series' first booking, in update_mask")
    if request.rrule and scope is Scope.OCCURRENCE:
        check.refuse("rrule", "needs the scope FOLLOWING or SERIES")
    told = masked(request)
    check_words(check, told)
    return Change(
        window=read_time(check, told) if "time" in paths else None,
        time_zone=(told.time_zone or None) if "time_zone" in paths else None,
        is_all_day=told.all_day if "all_day" in paths else None,
        subject=told.subject if "subject" in paths else None,
        attendees=invited_of(told) if "attendees" in paths else None,
        is_private=told.is_private if "is_private" in paths else None,
        body_text=told.body_text if "body_text" in paths else None,
        is_online_meeting=told.online_meeting if "online_meeting" in paths else None,
        annotations=dict(told.annotations) if "annotations" in paths else None,
        rule=request.rrule,
    )
