"""CreateBooking over the wire: what may be asked for, what is answered, and tokens that tie reads to writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2
from sidecar.model.window import Window
from tests.support.builders import NOW, TENANT, after
from tests.unit.api.rig import Rig, failing, window_of

ROOM = "tenants/acme/rooms/r1"
SOON = Window(after(minutes=60), after(minutes=120))


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a room."""
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1")
    return rig


def asking(window: Window = SOON, **fields: Any) -> pb.CreateBookingRequest:
    """Make a request; `booking` are fields of its booking (Any: any field)."""
    booking = pb.Booking(**{"time": window_of(window), **fields.pop("booking", {})})
    return pb.CreateBookingRequest(**{"parent": ROOM, "booking": booking, "request_id": "q1", **fields})


def attendee(email: str = "ada@contoso.example", **fields: Any) -> pb.Attendee:
    """Make somebody to invite (Any: any field)."""
    return pb.Attendee(person=pb.Person(email=email), **fields)


async def test_booking_is_made_and_told(rig: Rig) -> None:
    answer = await rig.bookings.CreateBooking(asking(booking={"subject": "Plans"}))
    assert (answer.booking.state, answer.booking.subject) == (pb.Booking.STATE_CONFIRMED, "Plans")
    assert len(rig.directory.calendar.events) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"parent": "tenants/acme/rooms/-"}, "parent"),
        ({"parent": "acme"}, "parent"),
        ({"booking": {"time": None}}, "booking.time"),
        ({"window": Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))}, "booking.time"),
        ({"window": Window(NOW - timedelta(minutes=16), NOW + timedelta(hours=2))}, "booking.time"),
        ({"window": Window(NOW + timedelta(days=1_900), NOW + timedelta(days=1_901))}, "booking.time"),
        ({"window": Window(NOW, NOW + timedelta(days=367))}, "booking.time"),
        ({"booking": {"time_zone": "Middle-earth/Shire"}}, "booking.time_zone"),
        ({"booking": {"time_zone": "W. Europe Standard Time"}}, "booking.time_zone"),
        ({"booking": {"subject": "x" * 256}}, "booking.subject"),
        ({"booking": {"subject": "two\nlines"}}, "booking.subject"),
        ({"booking": {"body_text": "é" * 16_385}}, "booking.body_text"),
        ({"booking": {"body_text": "a\x00b"}}, "booking.body_text"),
        ({"booking": {"attendees": [attendee() for _ in range(501)]}}, "booking.attendees"),
        ({"booking": {"attendees": [attendee("nobody")]}}, "booking.attendees[0].person.email"),
        ({"booking": {"attendees": [attendee(response=1)]}}, "booking.attendees[0].response"),
        (
            {"booking": {"attendees": [pb.Attendee(person=pb.Person(hash="x", email="a@b.c"))]}},
            "booking.attendees[0].person.hash",
        ),
        ({"booking": {"annotations": {str(n): "" for n in range(33)}}}, "booking.annotations"),
        ({"booking": {"annotations": {"Upper": ""}}}, "booking.annotations"),
        ({"booking": {"annotations": {"": "x"}}}, "booking.annotations"),
        ({"booking": {"annotations": {"a": "x" * 1_025}}}, "booking.annotations"),
        ({"booking": {"annotations": {f"k{n}": "x" * 1_000 for n in range(9)}}}, "booking.annotations"),
        ({"booking": {"name": f"{ROOM}/bookings/b"}}, "booking.name"),
        ({"booking": {"state": 2}}, "booking.state"),
        ({"booking": {"organizer": pb.Person(email="ada@contoso.example")}}, "booking.organizer"),
        ({"booking": {"etag": "x"}}, "booking.etag"),
        ({"booking": {"online_meeting_uri": "https://example.com"}}, "booking.online_meeting_uri"),
        ({"booking": {"all_day": True}}, "booking.time"),
        ({"booking": {"all_day": True, "time_zone": "Asia/Tokyo"}}, "booking.time_zone"),
        ({"rrule": "FREQ=SECONDLY"}, "rrule"),
        ({"rrule": "X" * 501}, "rrule"),
        ({"window": Window(NOW, NOW + timedelta(hours=30)), "rrule": "FREQ=DAILY;COUNT=3"}, "rrule"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"request_id": "with space"}, "request_id"),
        ({"max_wait": Duration(seconds=121)}, "max_wait"),
        ({"max_wait": Duration(seconds=-1)}, "max_wait"),
        ({"completion": 9}, "completion"),
        ({"mode": 9}, "mode"),
        ({"mode": common_pb2.WRITE_MODE_ORGANIZER}, "booking.organizer.email"),
    ],
)
async def test_request_that_breaks_a_rule_is_refused_by_name_and_nothing_is_made(
    rig: Rig, fields: dict[str, Any], named: str
) -> None:
    told = await failing(rig.bookings.CreateBooking(asking(**fields)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(told.violations) == [named]
    assert rig.directory.calendar.events == {}
    assert await rig.db.fetch("SELECT 1 FROM writes") == []


async def test_all_broken_rules_are_told_together(rig: Rig) -> None:
    told = await failing(
        rig.bookings.CreateBooking(asking(request_id=" ", parent="", booking={"subject": "x" * 256, "etag": "e"}))
    )
    assert set(told.violations) == {"request_id", "parent", "booking.subject", "booking.etag"}


@pytest.mark.parametrize(
    "fields",
    [
        {"booking": {"subject": "x" * 255, "body_text": "x" * 32_768, "attendees": [attendee()] * 500}},
        {"booking": {"annotations": {f"k{n}": "x" * 240 for n in range(32)}}},
        {"window": Window(NOW - timedelta(minutes=15), NOW + timedelta(hours=1))},
        {"window": Window(NOW + timedelta(days=3), NOW + timedelta(days=6))},
        {"booking": {"time_zone": "Europe/Berlin", "body_text": "two\r\nlines\t"}},
        {"request_id": "!" * 128, "max_wait": Duration(seconds=120)},
        {"mode": common_pb2.WRITE_MODE_ROOM, "completion": common_pb2.WRITE_COMPLETION_ROOM_ANSWERED},
    ],
)
async def test_request_at_its_limits_is_taken(rig: Rig, fields: dict[str, Any]) -> None:
    answer = await rig.bookings.CreateBooking(asking(**fields))
    assert answer.booking.name


async def test_request_without_an_id_makes_a_booking_each_time(rig: Rig) -> None:
    await rig.bookings.CreateBooking(asking(request_id=""))
    told = await failing(rig.bookings.CreateBooking(asking(request_id="")))
    assert told.reason == "ROOM_CONFLICT"


async def test_repetition_after_the_booking_has_begun_gets_the_same_answer(rig: Rig) -> None:
    """What was in time when it was asked for the first time is not refused for being late."""
    first = await rig.bookings.CreateBooking(asking())
    rig.clock.at = after(minutes=90)
    again = await rig.bookings.CreateBooking(asking())
    assert again.booking == first.booking


async def test_validation_makes_nothing_and_says_what_it_would_be(rig: Rig) -> None:
    answer = await rig.bookings.CreateBooking(asking(validate_only=True, booking={"subject": "Plans"}))
    assert (answer.booking.name, answer.booking.subject) == ("", "Plans")
    assert rig.directory.calendar.events == {}
    await rig.bookings.CreateBooking(asking())
    told = await failing(rig.bookings.CreateBooking(asking(validate_only=True)))
    assert told.reason == "ROOM_CONFLICT"


async def test_room_that_is_not_mapped_is_not_found(rig: Rig) -> None:
    told = await failing(rig.bookings.CreateBooking(asking(parent="tenants/acme/rooms/r9")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ROOM_NOT_FOUND")


async def test_suspended_tenant_is_refused_at_once(rig: Rig) -> None:
    await rig.db.store.lifecycle.suspend(TENANT, reason="")
    told = await failing(rig.bookings.CreateBooking(asking()))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_SUSPENDED")


async def test_conflict_tells_when_the_room_is_taken(rig: Rig) -> None:
    await rig.bookings.CreateBooking(asking())
    told = await failing(rig.bookings.CreateBooking(asking(request_id="q2")))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ROOM_CONFLICT")
    assert set(told.metadata) == {"conflicts_count", "start_time", "end_time"}


async def test_read_after_a_write_shows_it(rig: Rig) -> None:
    answer = await rig.bookings.CreateBooking(asking())
    listed = await rig.bookings.ListBookings(
        pb.ListBookingsRequest(parent=ROOM, window=window_of(), read_after_token=answer.written_at_token)
    )
    assert list(listed.bookings) == [answer.booking]
    read = await rig.bookings.GetBooking(
        pb.GetBookingRequest(name=answer.booking.name, read_after_token=answer.written_at_token)
    )
    assert read.booking == answer.booking


@pytest.mark.parametrize(
    ("token", "reason"), [("nonsense", "RESUME_TOKEN_MALFORMED"), ("", "RESUME_TOKEN_SCOPE_MISMATCH")]
)
async def test_token_that_no_write_gave_is_refused(rig: Rig, token: str, reason: str) -> None:
    """The token of a list is not one of a write: it says from where to watch a room."""
    listed = await rig.bookings.ListBookings(pb.ListBookingsRequest(parent=ROOM, window=window_of()))
    token = token or listed.resume_token
    request = pb.GetBookingRequest(name=f"{ROOM}/bookings/b", read_after_token=token)
    assert (await failing(rig.bookings.GetBooking(request))).reason == reason


async def test_token_of_a_write_that_the_store_has_lost_is_refused(rig: Rig) -> None:
    """A backup was put back since."""
    answer = await rig.bookings.CreateBooking(asking())
    await rig.db.execute("UPDATE tenants SET revision = revision - 1")
    request = pb.GetBookingRequest(name=answer.booking.name, read_after_token=answer.written_at_token)
    told = await failing(rig.bookings.GetBooking(request))
    assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")
