"""What callers ask to be written, checked as a whole: every field has its limits, and all broken rules are told together."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from google.protobuf.message import Message

from sidecar.api.validate import Check
from sidecar.errors import FieldViolation, InvalidArgument
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2
from sidecar.model.booking import Person
from sidecar.model.event import EventContent, Invited
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.recurrence import Recurrence
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.model.write import WriteMode
from sidecar.writes.occurrences import occurrence_windows
from sidecar.writes.rrule import RULE_CHARS_MAX, RuleRefused, parse_rule

SUBJECT_CHARS_MAX = 255
"""What Outlook shows and Exchange keeps."""
BODY_BYTES_MAX = 32 * 1024
ATTENDEES_MAX = 500
"""Exchange takes no more in one request."""
ANNOTATIONS_MAX = 32
ANNOTATION_BYTES_MAX = 1024
ANNOTATIONS_BYTES_MAX = 8 * 1024
COMMENT_CHARS_MAX = 1_000
LENGTH_MAX = timedelta(days=366)
AHEAD_MAX = timedelta(days=5 * 365 + 2)
LATE_MAX = timedelta(minutes=15)
"""Whoever books "now" at a door means the quarter of an hour that has begun."""
WAIT_DEFAULT_S, WAIT_MAX_S = 20.0, 120.0
_OVERLAPS_LOOKED_AT = 60
_MODES = frozenset(mode.value for mode in WriteMode)

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_ANNOTATION_KEY = re.compile(r"[a-z0-9._/-]{1,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
WRITABLE = frozenset(
    {
        "time",
        "time_zone",
        "all_day",
        "subject",
        "attendees",
        "is_private",
        "annotations",
        "body_text",
        "online_meeting",
    }
)
"""Fields of a booking that callers write."""
_MUST_BE_ANSWERED: dict[int, bool] = {
    common_pb2.WRITE_COMPLETION_SUBMITTED: False,
    common_pb2.WRITE_COMPLETION_ROOM_ANSWERED: True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A checked CreateBooking, as far as it can be checked without its room.

    Attributes:
        digest: equal for requests that ask for the same.
        mode: None: what the tenant's settings say.
        must_be_answered: the caller waits for the room's answer; None: whatever its mode suggests.
        wait_s: how long the caller wants to wait at most.
    """

    tenant_id: TenantId
    room_id: RoomId
    request_id: str
    digest: bytes
    booking: pb.Booking = field(repr=False)
    window: Window
    rrule: str
    mode: WriteMode | None
    must_be_answered: bool | None
    wait_s: float


def read_create(request: pb.CreateBookingRequest) -> Wish:
    """Read a request.

    Raises:
        InvalidArgument: with all broken rules.
    """
    check = Check()
    tenant_id, room_id = check.room("parent", request.parent)
    window = read_booking(check, request.booking, also=frozenset({"organizer"}))
    check.text("rrule", request.rrule, RULE_CHARS_MAX)
    check.choice("completion", request.completion, common_pb2.WriteCompletion.values())
    check.choice("mode", request.mode, common_pb2.WriteMode.values())
    wish = Wish(
        tenant_id=tenant_id,
        room_id=room_id,
        request_id=read_request_id(check, request.request_id),
        digest=digest_of(request),
        booking=request.booking,
        window=window,
        rrule=request.rrule,
        mode=WriteMode(request.mode) if request.mode in _MODES else None,
        must_be_answered=_MUST_BE_ANSWERED.get(request.completion),
        wait_s=read_wait_s(check, request),
    )
    check.finish()
    return wish


def read_booking(check: Check, booking: pb.Booking, *, also: frozenset[str]) -> Window:
    """Check what a booking to be written says, but for what depends on its room; return when it is.

    Args:
        also: fields beyond the usual ones that may be set.
    """
    for descriptor, _ in booking.ListFields():
        if descriptor.name not in WRITABLE | also:
            check.refuse(f"booking.{descriptor.name}", "cannot be written")
    window = read_time(check, booking)
    check_words(check, booking)
    return window


def read_time(check: Check, booking: pb.Booking) -> Window:
    """Check when a booking is to be; return it."""
    window = check.window("booking.time", booking.time)
    if window.end_at - window.start_at > LENGTH_MAX:
        check.refuse("booking.time", f"must span {LENGTH_MAX.days} days at most")
    return window


def check_words(check: Check, booking: pb.Booking) -> None:
    """Check all else that a booking says."""
    check.time_zone("booking.time_zone", booking.time_zone)
    check.text("booking.subject", booking.subject, SUBJECT_CHARS_MAX)
    if _CONTROL.search(booking.subject):
        check.refuse("booking.subject", "must be one line without control characters")
    if len(booking.body_text.encode()) > BODY_BYTES_MAX:
        check.refuse("booking.body_text", f"must have {BODY_BYTES_MAX} bytes at most")
    if _CONTROL_BUT_LINES.search(booking.body_text):
        check.refuse("booking.body_text", "must not hold control characters but line ends and tabs")
    _check_attendees(check, booking)
    _check_annotations(check, booking.annotations)


def _check_attendees(check: Check, booking: pb.Booking) -> None:
    if len(booking.attendees) > ATTENDEES_MAX:
        check.refuse("booking.attendees", f"must have {ATTENDEES_MAX} entries at most")
        return
    for at, attendee in enumerate(booking.attendees):
        path = f"booking.attendees[{at}]"
        check.mailbox(f"{path}.person.email", attendee.person.email)
        check.display_name(f"{path}.person.display_name", attendee.person.display_name)
        if _CONTROL.search(attendee.person.display_name):
            check.refuse(f"{path}.person.display_name", "must not hold control characters")
        if attendee.person.hash:
            check.refuse(f"{path}.person.hash", "cannot be written")
        if attendee.response:
            check.refuse(f"{path}.response", "cannot be written")


def _check_annotations(check: Check, annotations: Mapping[str, str]) -> None:
    path = "booking.annotations"
    if len(annotations) > ANNOTATIONS_MAX:
        check.refuse(path, f"must have {ANNOTATIONS_MAX} entries at most")
    if not all(_ANNOTATION_KEY.fullmatch(key) for key in annotations):
        check.refuse(path, "must have keys of 1 to 63 characters of [a-z0-9._/-]")
    sizes = [len(value.encode()) for value in annotations.values()]
    if any(size > ANNOTATION_BYTES_MAX for size in sizes):
        check.refuse(path, f"must have values of {ANNOTATION_BYTES_MAX} bytes at most")
    if sum(sizes) + sum(map(len, annotations)) > ANNOTATIONS_BYTES_MAX:
        check.refuse(path, f"must have {ANNOTATIONS_BYTES_MAX} bytes at most in all")


def read_request_id(check: Check, request_id: str) -> str:
    """Check the name of a wish; one that has none gets one that nobody else has."""
    if not request_id:
        return f"-{secrets.token_hex(16)}"
    if _REQUEST_ID.fullmatch(request_id) is None:
        check.refuse("request_id", "must be 1 to 128 visible ASCII characters")
    return request_id


def read_wait_s(check: Check, request: pb.CreateBookingRequest | pb.UpdateBookingRequest) -> float:
    """Return how long a caller wants to wait at most."""
    if not request.HasField("max_wait"):
        return WAIT_DEFAULT_S
    return check.duration_s("max_wait", request.max_wait, least_s=0.0, most_s=WAIT_MAX_S)


def digest_of(request: Message) -> bytes:
    """Return what two requests have in common that ask for the same, however long their callers wait."""
    asked = type(request)()
    asked.CopyFrom(request)
    for name in ("request_id", "completion", "max_wait", "validate_only"):
        if name in asked.DESCRIPTOR.fields_by_name:
            asked.ClearField(name)
    told = asked.SerializeToString(deterministic=True)
    return hashlib.blake2b(request.DESCRIPTOR.name.encode() + b"\0" + told, digest_size=16).digest()


def check_time(window: Window, *, is_all_day: bool, now: datetime) -> None:
    """Refuse a booking in the past, or too far ahead.

    Raises:
        InvalidArgument.
    """
    check = Check()
    begins_late = not is_all_day and window.start_at < now - LATE_MAX
    if begins_late or window.end_at <= now:
        check.refuse("booking.time", f"must not be in the past; {LATE_MAX.seconds // 60} minutes are tolerated")
    if window.start_at > now + AHEAD_MAX:
        check.refuse("booking.time", "must not begin more than 5 years ahead")
    check.finish()


def organizer_of(booking: pb.Booking, mode: WriteMode, *, room: Room) -> str:
    """Return the address of the person in whose calendar a checked booking of a room is to be written; "" in mode ROOM.

    Raises:
        InvalidArgument: there is one too many, none, or one that is no person's.
    """
    check = Check()
    email = booking.organizer.email
    if mode is WriteMode.ROOM:
        if booking.HasField("organizer"):
            check.refuse("booking.organizer", "must be unset: the room itself is the organizer in mode ROOM")
    else:
        check.mailbox("booking.organizer.email", email)
        if email.casefold() == room.mailbox.casefold():
            check.refuse("booking.organizer.email", "must be a person's, and not the room's own")
        if len(booking.attendees) >= ATTENDEES_MAX:
            check.refuse(
                "booking.attendees", f"must have {ATTENDEES_MAX - 1} entries at most: the room is invited, too"
            )
        for name in ("display_name", "hash"):
            if getattr(booking.organizer, name):
                check.refuse(f"booking.organizer.{name}", "cannot be written")
    check.finish()
    return email


def invited_of(booking: pb.Booking) -> tuple[Invited, ...]:
    """Return whom a booking is to invite."""
    return tuple(
        Invited(Person(told.person.email, told.person.display_name), told.optional_attendee)
        for told in booking.attendees
    )


def content_of(booking: pb.Booking, window: Window, rrule: str, *, room: Room) -> EventContent:
    """Return what is to be written for a checked booking of a room.

    Raises:
        InvalidArgument: what depends on the room does not fit, or the rule is refused.
    """
    zone_name = booking.time_zone or room.time_zone or "UTC"
    zone = ZoneInfo(zone_name)
    check = Check()
    if booking.all_day:
        if zone_name != (room.time_zone or "UTC"):
            check.refuse("booking.time_zone", "must be the room's zone or empty for whole days")
        elif any(
            at.astimezone(zone).timetz().replace(tzinfo=None) != time() for at in (window.start_at, window.end_at)
        ):
            check.refuse(
                "booking.time", f"must be from midnight to midnight in {zone_name}, the room's zone, for whole days"
            )
    recurrence = _read_rule(check, rrule, window, zone) if rrule else None
    check.finish()
    return EventContent(
        window=window,
        time_zone=zone_name,
        is_all_day=booking.all_day,
        subject=booking.subject,
        attendees=invited_of(booking),
        is_private=booking.is_private,
        body_text=booking.body_text,
        is_online_meeting=booking.online_meeting,
        annotations=dict(booking.annotations),
        recurrence=recurrence,
    )


def _read_rule(check: Check, rrule: str, window: Window, zone: ZoneInfo) -> Recurrence | None:
    try:
        recurrence = parse_rule(rrule, start_at=window.start_at, zone=zone)
    except RuleRefused as refused:
        raise InvalidArgument([FieldViolation("rrule", str(refused))]) from refused
    until_at = window.start_at + AHEAD_MAX
    first = islice(occurrence_windows(recurrence, window, zone=zone, until_at=until_at), _OVERLAPS_LOOKED_AT)
    if any(one.end_at > following.start_at for one, following in pairwise(first)):
        check.refuse("rrule", "must not have a booking begin before the one before it has ended")
    return recurrence
