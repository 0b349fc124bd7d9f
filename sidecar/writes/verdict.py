"""What a room has answered, why it may have declined, and why an organizer's calendar is out of reach. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.errors import BookingNotFound, MailboxNotFound, MailboxNotInCloud, OrganizerUnreachable, SidecarError
from sidecar.graph.wire import GraphAttendee, GraphEvent
from sidecar.model.booking import BookingState, Decline, DeclineReason
from sidecar.model.window import Window

BOOKING_WINDOW_DAYS = 180
"""How far ahead a room may be booked, unless its administrator set something else."""
LENGTH_MAX = timedelta(minutes=1_440)
"""How long a room may be booked for, unless its administrator set something else.

Source of both: Exchange "Set-CalendarProcessing" page.
"""
_ANSWERS = {
    "accepted": BookingState.CONFIRMED,
    "tentativelyAccepted": BookingState.TENTATIVE,
    "declined": BookingState.DECLINED,
}
_DENIED, _NOT_FOUND, _NOT_IN_CLOUD, _NO_CALENDAR = "ACCESS_DENIED", "NOT_FOUND", "NOT_IN_CLOUD", "NO_CALENDAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a room was asked for.

    Attributes:
        window: of a series, its first occurrence.
        is_series: more than one time.
        last_on: day of the last occurrence; None for a series without end.
    """

    window: Window
    is_series: bool
    last_on: date | None


def answer_of(event: GraphEvent, addresses: Collection[str]) -> BookingState:
    """Return what a room has answered, as the organizer's own item tells; CANCELLED: it is not asked any more.

    Args:
        addresses: those by which the room was invited, or is known by now; compared without regard to case.
    """
    if event.is_cancelled is True:
        return BookingState.CANCELLED
    room = _room_of(event.attendees or (), {address.casefold() for address in addresses})
    if room is None:
        return BookingState.CANCELLED
    response = room.status.response if room.status is not None else None
    return _ANSWERS.get(response or "", BookingState.PENDING)


def _room_of(invited: Iterable[GraphAttendee], addresses: Collection[str]) -> GraphAttendee | None:
    """Find the room. Exchange may write its address in another way; an only resource is the room all the same."""
    resources = []
    for attendee in invited:
        address = attendee.email_address.address if attendee.email_address is not None else None
        if (address or "").casefold() in addresses:
            return attendee
        if attendee.type == "resource":
            resources.append(attendee)
    return resources[0] if len(resources) == 1 else None


def why_declined(asked: Asked, *, now: datetime, zone_name: str, in_the_way: Collection[Window] | None) -> Decline:
    """Tell what is known of why a room declined: a booking in the way, or a rule that rooms have by default.

    Args:
        zone_name: the room's, in which its days begin; "" means UTC.
        in_the_way: what takes the room at the time asked for; None when nobody could look.
    """
    if in_the_way:
        first = min(in_the_way, key=lambda window: (window.start_at, window.end_at))
        return Decline(DeclineReason.ROOM_TAKEN, first, is_assumed=False)
    if _is_beyond(asked, now=now, zone_name=zone_name):
        return Decline(DeclineReason.OUTSIDE_BOOKING_WINDOW)
    if asked.window.end_at - asked.window.start_at > LENGTH_MAX:
        return Decline(DeclineReason.TOO_LONG)
    if in_the_way is None:
        return Decline(DeclineReason.UNKNOWN, is_assumed=False)
    return Decline(DeclineReason.SERIES_REFUSED if asked.is_series else DeclineReason.OTHER_POLICY)


def _is_beyond(asked: Asked, *, now: datetime, zone_name: str) -> bool:
    zone = ZoneInfo(zone_name) if zone_name else UTC
    last_bookable = now.astimezone(zone).date() + timedelta(days=BOOKING_WINDOW_DAYS)
    if asked.window.start_at.astimezone(zone).date() > last_bookable:
        return True
    return asked.is_series and (asked.last_on is None or asked.last_on > last_bookable)


def organizer_refusal(error: SidecarError) -> OrganizerUnreachable:
    """Say why an organizer's calendar cannot be written to.

    Args:
        error: a `RoomBlocked` or `BookingNotFound` that Exchange's refusal of a new event was read as. It speaks of rooms; and
            who has a mailbox but no calendar is told like somebody whose event is missing.
    """
    if isinstance(error, MailboxNotFound):
        cause, message = _NOT_FOUND, "no mailbox of this directory has the organizer's address"
    elif isinstance(error, MailboxNotInCloud):
        cause, message = _NOT_IN_CLOUD, "the organizer's mailbox is not in Exchange Online, or has no licence"
    elif isinstance(error, BookingNotFound):
        cause, message = _NO_CALENDAR, "the organizer's mailbox has no calendar"
    else:
        cause = error.details.get("cause", _DENIED)
        message = "the application may not write to the organizer's calendar; the customer has to include the mailbox"
    refusal = OrganizerUnreachable(message, details={**error.details, "cause": cause})
    refusal.may_be_done = error.may_be_done
    return refusal
