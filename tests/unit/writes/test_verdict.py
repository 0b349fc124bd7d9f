"""Rooms' answers as organizers' items tell them, and what is known of refusals."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from sidecar.errors import BookingNotFound, MailboxDenied, MailboxNotFound, MailboxNotInCloud, SidecarError
from sidecar.graph.wire import GraphAddress, GraphAttendee, GraphEvent, GraphResponse
from sidecar.model.booking import BookingState, Decline, DeclineReason
from sidecar.model.ids import EventId
from sidecar.model.window import Window
from sidecar.writes.verdict import Asked, answer_of, organizer_refusal, why_declined
from tests.support.builders import NOW, after

ROOM = "Room1@contoso.example"


def invited(address: str, response: str | None, kind: str = "resource") -> GraphAttendee:
    """Build an attendee."""
    status = None if response is None else GraphResponse(response=response)
    return GraphAttendee(type=kind, status=status, email_address=GraphAddress(name="Somebody", address=address))


def meeting(*attendees: GraphAttendee, is_cancelled: bool = False) -> GraphEvent:
    """Build an organizer's item."""
    return GraphEvent(id=EventId("e1"), attendees=list(attendees), is_cancelled=is_cancelled)


@pytest.mark.parametrize(
    ("response", "state"),
    [
        ("accepted", BookingState.CONFIRMED),
        ("tentativelyAccepted", BookingState.TENTATIVE),
        ("declined", BookingState.DECLINED),
        ("none", BookingState.PENDING),
        ("notResponded", BookingState.PENDING),
        ("somethingNew", BookingState.PENDING),
        (None, BookingState.PENDING),
    ],
)
def test_answer_is_the_rooms_own_and_nothing_is_no_answer(response: str | None, state: BookingState) -> None:
    event = meeting(invited("ada@contoso.example", "accepted", "required"), invited(ROOM.upper(), response))
    assert answer_of(event, {ROOM}) is state


def test_room_under_another_address_is_known_as_the_only_resource() -> None:
    assert answer_of(meeting(invited("r1@other.example", "accepted")), {ROOM}) is BookingState.CONFIRMED


def test_room_among_resources_is_never_guessed() -> None:
    event = meeting(invited("r1@other.example", "accepted"), invited("beamer@contoso.example", "accepted"))
    assert answer_of(event, {ROOM}) is BookingState.CANCELLED


@pytest.mark.parametrize("event", [meeting(), meeting(invited(ROOM, "accepted"), is_cancelled=True)])
def test_meeting_that_is_cancelled_or_without_the_room_asks_it_nothing(event: GraphEvent) -> None:
    assert answer_of(event, {ROOM}) is BookingState.CANCELLED


def asked(*, in_days: float = 1.0, hours: float = 1.0, last_on: date | None = None, is_series: bool = False) -> Asked:
    """Build what a room was asked for; `last_on` counts for a series only."""
    start_at = after(days=in_days)
    window = Window(start_at, start_at + timedelta(hours=hours))
    return Asked(window=window, is_series=is_series, last_on=last_on if is_series else start_at.date())


FAR, NEAR = (NOW + timedelta(days=181)).date(), (NOW + timedelta(days=180)).date()
OTHER, LATER = Window(after(days=1, minutes=5), after(days=1, hours=2)), Window(after(days=2), after(days=2, hours=1))


@pytest.mark.parametrize(
    ("wanted", "in_the_way", "told"),
    [
        (asked(), (LATER, OTHER), Decline(DeclineReason.ROOM_TAKEN, OTHER, is_assumed=False)),
        (asked(in_days=200), (OTHER,), Decline(DeclineReason.ROOM_TAKEN, OTHER, is_assumed=False)),
        (asked(in_days=181), (), Decline(DeclineReason.OUTSIDE_BOOKING_WINDOW)),
        (asked(in_days=181), None, Decline(DeclineReason.OUTSIDE_BOOKING_WINDOW)),
        (asked(in_days=180), (), Decline(DeclineReason.OTHER_POLICY)),
        (asked(hours=24), (), Decline(DeclineReason.OTHER_POLICY)),
        (asked(hours=24.1), (), Decline(DeclineReason.TOO_LONG)),
        (asked(hours=24.1), None, Decline(DeclineReason.TOO_LONG)),
        (asked(is_series=True, last_on=NEAR), (), Decline(DeclineReason.SERIES_REFUSED)),
        (asked(is_series=True, last_on=FAR), (), Decline(DeclineReason.OUTSIDE_BOOKING_WINDOW)),
        (asked(is_series=True), (), Decline(DeclineReason.OUTSIDE_BOOKING_WINDOW)),
        (asked(), (), Decline(DeclineReason.OTHER_POLICY)),
        (asked(), None, Decline(DeclineReason.UNKNOWN, is_assumed=False)),
    ],
)
def test_refusal_is_told_by_the_first_cause_that_fits(
    wanted: Asked, in_the_way: tuple[Window, ...] | None, told: Decline
) -> None:
    assert why_declined(wanted, now=NOW, zone_name="", in_the_way=in_the_way) == told


def test_days_ahead_are_those_of_the_rooms_zone() -> None:
    """Late on the last day in UTC it is the day after in Tokyo: too far ahead there."""
    late = Window(after(days=180, hours=14), after(days=180, hours=15))
    wanted = Asked(window=late, is_series=False, last_on=late.start_at.date())
    reasons = {
        zone: why_declined(wanted, now=NOW, zone_name=zone, in_the_way=()).reason for zone in ("UTC", "Asia/Tokyo")
    }
    assert reasons == {"UTC": DeclineReason.OTHER_POLICY, "Asia/Tokyo": DeclineReason.OUTSIDE_BOOKING_WINDOW}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MailboxDenied("no", details={"cause": "ACCESS_POLICY"}), "ACCESS_POLICY"),
        (MailboxDenied("no"), "ACCESS_DENIED"),
        (MailboxNotFound("no"), "NOT_FOUND"),
        (MailboxNotInCloud("no"), "NOT_IN_CLOUD"),
        (BookingNotFound("no"), "NO_CALENDAR"),
    ],
)
def test_organizer_out_of_reach_is_told_with_its_cause(error: SidecarError, cause: str) -> None:
    refusal = organizer_refusal(error)
    assert (refusal.details["cause"], "organizer" in refusal.message) == (cause, True)
