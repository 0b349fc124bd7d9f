"""UpdateBooking and CancelBooking over the wire: what may be asked for. What comes of it stands in `contract/writes`."""

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
NAME = f"{ROOM}/bookings/0123456789abcdef01234567"
SOON = Window(after(minutes=60), after(minutes=120))


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a room."""
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1")
    return rig


def changing(*paths: str, window: Window = SOON, **fields: Any) -> pb.UpdateBookingRequest:
    """Make a request; `booking` are fields of its booking (Any: any field)."""
    booking = pb.Booking(**{"name": NAME, "time": window_of(window), **fields.pop("booking", {})})
    request = pb.UpdateBookingRequest(**{"booking": booking, "request_id": "u1", **fields})
    request.update_mask.paths.extend(paths)
    return request


def _attendees(count: int) -> list[pb.Attendee]:
    return [pb.Attendee(person=pb.Person(email="ada@contoso.example"))] * count


@pytest.mark.parametrize(
    ("paths", "fields", "named"),
    [
        (["subject"], {"booking": {"name": ROOM}}, "booking.name"),
        (["subject"], {"booking": {"etag": "x" * 65}}, "booking.etag"),
        ([], {}, "update_mask"),
        (["state"], {}, "update_mask"),
        (["organizer"], {}, "update_mask"),
        (["*"], {}, "update_mask"),
        (["time.start_time"], {}, "update_mask"),
        (["all_day"], {"booking": {"all_day": True}}, "update_mask"),
        (["time"], {"booking": {"time": None}}, "booking.time"),
        (["time"], {"window": Window(NOW - timedelta(hours=3), NOW)}, "booking.time"),
        (["time"], {"window": Window(NOW + timedelta(days=1_900), NOW + timedelta(days=1_901))}, "booking.time"),
        (["time"], {"window": Window(NOW, NOW + timedelta(days=367))}, "booking.time"),
        (["time_zone"], {"booking": {"time_zone": "Middle-earth/Shire"}}, "booking.time_zone"),
        (["subject"], {"booking": {"subject": "x" * 256}}, "booking.subject"),
        (["subject"], {"booking": {"subject": "two\nlines"}}, "booking.subject"),
        (["body_text"], {"booking": {"body_text": "x" * 32_769}}, "booking.body_text"),
        (["attendees"], {"booking": {"attendees": _attendees(501)}}, "booking.attendees"),
        (["attendees"], {"booking": {"attendees": [pb.Attendee()]}}, "booking.attendees[0].person.email"),
        (["annotations"], {"booking": {"annotations": {"UPPER": "x"}}}, "booking.annotations"),
        (["annotations"], {"booking": {"annotations": {"k": "x" * 1_025}}}, "booking.annotations"),
        (["subject"], {"scope": 9}, "scope"),
        (["subject"], {"completion": 9}, "completion"),
        (["subject"], {"request_id": "with space"}, "request_id"),
        (["subject"], {"request_id": "x" * 129}, "request_id"),
        (["subject"], {"max_wait": Duration(seconds=121)}, "max_wait"),
        (["time"], {"rrule": "FREQ=DAILY"}, "rrule"),
        (["time"], {"rrule": "FREQ=DAILY;" + "X" * 500, "scope": common_pb2.SERIES_SCOPE_SERIES}, "rrule"),
        ([], {"rrule": "FREQ=DAILY", "scope": common_pb2.SERIES_SCOPE_SERIES}, "rrule"),
    ],
)
async def test_change_that_breaks_a_rule_is_refused_by_the_name_of_the_field(
    rig: Rig, paths: list[str], fields: dict[str, Any], named: str
) -> None:
    """And nothing is begun."""
    told = await failing(rig.bookings.UpdateBooking(changing(*paths, **fields)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert named in told.violations
    assert await rig.db.fetch("SELECT 1 FROM writes") == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ROOM}, "name"),
        ({"name": ""}, "name"),
        ({"etag": "x" * 65}, "etag"),
        ({"comment": "x" * 1_001}, "comment"),
        ({"scope": 9}, "scope"),
        ({"request_id": "with space"}, "request_id"),
    ],
)
async def test_cancellation_that_breaks_a_rule_is_refused_by_the_name_of_the_field(
    rig: Rig, fields: dict[str, Any], named: str
) -> None:
    """And nothing is begun."""
    request = pb.CancelBookingRequest(**{"name": NAME, "request_id": "c1", **fields})
    told = await failing(rig.bookings.CancelBooking(request))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert named in told.violations
    assert await rig.db.fetch("SELECT 1 FROM writes") == []


async def test_what_the_mask_does_not_name_is_not_even_looked_at(rig: Rig) -> None:
    """A booking that was read may be sent back, whatever it holds; this one is only not there."""
    booking = {"subject": "x" * 256, "time": None, "state": pb.Booking.STATE_CONFIRMED, "annotations": {"UPPER": "x"}}
    told = await failing(rig.bookings.UpdateBooking(changing("is_private", booking=booking)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "BOOKING_NOT_FOUND")
    assert await rig.db.fetch("SELECT 1 FROM writes") == []


async def test_meeting_under_way_may_end_otherwise(rig: Rig) -> None:
    """Its beginning is in the past; its end is not."""
    window = Window(NOW - timedelta(hours=3), NOW + timedelta(hours=1))
    told = await failing(rig.bookings.UpdateBooking(changing("time", window=window)))
    assert told.reason == "BOOKING_NOT_FOUND"


async def test_suspended_tenant_is_refused_at_once(rig: Rig) -> None:
    """Nothing is asked of Exchange."""
    await rig.db.store.lifecycle.suspend(TENANT, reason="")
    for call in (
        rig.bookings.UpdateBooking(changing("subject")),
        rig.bookings.CancelBooking(pb.CancelBookingRequest(name=NAME)),
    ):
        told = await failing(call)
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_SUSPENDED")


async def test_room_that_is_not_mapped_is_not_found(rig: Rig) -> None:
    """Nor are its bookings, missing or not."""
    name = NAME.replace("r1", "r9")
    told = await failing(rig.bookings.UpdateBooking(changing("subject", booking={"name": name})))
    assert told.reason == "ROOM_NOT_FOUND"
    told = await failing(rig.bookings.CancelBooking(pb.CancelBookingRequest(name=name, allow_missing=True)))
    assert told.reason == "ROOM_NOT_FOUND"


async def test_cancellation_of_what_is_not_there_may_be_allowed(rig: Rig) -> None:
    """The answer is without a booking then, however often it is asked for."""
    request = pb.CancelBookingRequest(name=NAME, request_id="c1", allow_missing=True)
    for _ in range(2):
        answer = await rig.bookings.CancelBooking(request)
        assert not answer.HasField("booking")
        assert answer.written_at_token
