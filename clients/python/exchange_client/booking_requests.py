"""Builds the requests that write bookings, for both clients; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from exchange_client import times
from exchange_client.messages import (
    Attendee,
    Booking,
    CheckInRequest,
    CreateBookingRequest,
    Person,
    SeriesScope,
    UpdateBookingRequest,
    WriteCompletion,
    WriteMode,
)
from exchange_client.writing import WAIT_MARGIN_S, WRITE_TIMEOUT_S, request_id_or_new


def create_booking(
    room: str,
    start_at: datetime,
    end_at: datetime,
    *,
    subject: str,
    organizer: str,
    attendees: Iterable[str | Attendee],
    time_zone: str,
    all_day: bool,
    is_private: bool,
    body_text: str,
    online_meeting: bool,
    annotations: Mapping[str, str] | None,
    rrule: str,
    mode: WriteMode.ValueType,
    wait_s: float | None,
    validate_only: bool,
    request_id: str,
) -> CreateBookingRequest:
    """Build the request."""
    booking = Booking(
        time=times.window(start_at, end_at),
        subject=subject,
        attendees=attendees_of(attendees),
        time_zone=time_zone,
        all_day=all_day,
        is_private=is_private,
        body_text=body_text,
        online_meeting=online_meeting,
        annotations=dict(annotations or {}),
    )
    if organizer:
        booking.organizer.email = organizer
    request = CreateBookingRequest(
        parent=room,
        booking=booking,
        rrule=rrule,
        mode=mode,
        validate_only=validate_only,
        request_id=request_id_or_new(request_id),
    )
    if wait_s is not None:
        request.completion = WriteCompletion.WRITE_COMPLETION_ROOM_ANSWERED
        request.max_wait.CopyFrom(times.to_duration(wait_s))
    return request


def update_booking(
    name: str,
    *,
    start_at: datetime | None,
    end_at: datetime | None,
    subject: str | None,
    attendees: Iterable[str | Attendee] | None,
    time_zone: str | None,
    all_day: bool | None,
    is_private: bool | None,
    body_text: str | None,
    online_meeting: bool | None,
    annotations: Mapping[str, str] | None,
    rrule: str,
    scope: SeriesScope.ValueType,
    etag: str,
    wait_s: float | None,
    validate_only: bool,
    request_id: str,
) -> UpdateBookingRequest:
    """Build the request that changes what is not None.

    Raises:
        ValueError: nothing is given, or one end of the time without the other.
    """
    request = UpdateBookingRequest(
        booking=Booking(name=name, etag=etag),
        scope=scope,
        rrule=rrule,
        validate_only=validate_only,
        request_id=request_id_or_new(request_id),
    )
    if (start_at is None) != (end_at is None):
        raise ValueError("a new time has a start and an end")
    paths = request.update_mask.paths
    if start_at is not None and end_at is not None:
        request.booking.time.CopyFrom(times.window(start_at, end_at))
        paths.append("time")
    if attendees is not None:
        request.booking.attendees.extend(attendees_of(attendees))
        paths.append("attendees")
    if annotations is not None:
        request.booking.annotations.update(annotations)
        paths.append("annotations")
    given = {
        "subject": subject,
        "time_zone": time_zone,
        "all_day": all_day,
        "is_private": is_private,
        "body_text": body_text,
        "online_meeting": online_meeting,
    }
    for field_name, value in given.items():
        if value is not None:
            setattr(request.booking, field_name, value)
            paths.append(field_name)
    if not paths and not rrule:
        raise ValueError("nothing is given that could be changed")
    if wait_s is not None:
        request.completion = WriteCompletion.WRITE_COMPLETION_ROOM_ANSWERED
        request.max_wait.CopyFrom(times.to_duration(wait_s))
    return request


def check_in(name: str, *, by: str, at: datetime | None, undo: bool) -> CheckInRequest:
    """Build the request."""
    request = CheckInRequest(name=name, check_in_by=by, undo=undo)
    if at is not None:
        request.check_in_time.CopyFrom(times.to_timestamp(at))
    return request


def attendees_of(attendees: Iterable[str | Attendee]) -> list[Attendee]:
    """Return attendees; a plain address is somebody who has to come.

    Raises:
        ValueError: a plain string, which would be read as a list of letters.
    """
    if isinstance(attendees, str):
        raise ValueError("attendees is a list of addresses, not one address")
    return [Attendee(person=Person(email=one)) if isinstance(one, str) else one for one in attendees]


def write_limit_s(timeout_s: float | None, wait_s: float | None = None) -> float:
    """Return how long a write may take: what the caller says, or time enough for the room to answer."""
    if timeout_s is not None:
        return timeout_s
    return WRITE_TIMEOUT_S if wait_s is None else max(WRITE_TIMEOUT_S, wait_s + WAIT_MARGIN_S)
