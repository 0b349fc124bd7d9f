"""Writes of bookings against the scripted service: one request id, however often it is sent, and typed refusals."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from exchange_client import (
    ClientClosed,
    ExchangeClient,
    InvalidRequest,
    OutcomeUnknown,
    RequestIdReused,
    RoomConflict,
    SyncExchangeClient,
    Unavailable,
)
from exchange_client.messages import (
    Attendee,
    Booking,
    CancelBookingResponse,
    CheckInResponse,
    CreateBookingRequest,
    CreateBookingResponse,
    Person,
    ReleaseBookingRequest,
    ReleaseBookingResponse,
    SeriesScope,
    UpdateBookingResponse,
    WriteCompletion,
    WriteMode,
)

from tests.unit.client.fake_server import HANG, FakeClock, FakeServer, FakeSyncClock, Fault

ROOM = "tenants/acme/rooms/r1"
NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)
UNKNOWN = Fault(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN", retry_after_s=1.0)
DRAINING = Fault(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", retry_after_s=0.5)


def script(server: FakeServer, *steps: object) -> None:
    """Answer CreateBooking with these, in turn; after them with a booking."""
    left = list(steps)

    def answer(request: CreateBookingRequest) -> object:
        if left:
            return left.pop(0)
        return CreateBookingResponse(booking=Booking(name=f"{ROOM}/bookings/b1", time=request.booking.time))

    server.answers["CreateBooking"] = answer


async def test_everything_that_is_wished_is_sent(server: FakeServer, client: ExchangeClient) -> None:
    script(server)
    answer = await client.create_booking(
        ROOM,
        NINE,
        TEN,
        subject="Plans",
        organizer="ada@acme.example",
        attendees=["bob@acme.example", Attendee(person=Person(email="eve@acme.example"), optional_attendee=True)],
        time_zone="Europe/Berlin",
        annotations={"visit": "7"},
        rrule="FREQ=DAILY;COUNT=3",
        mode=WriteMode.WRITE_MODE_ORGANIZER,
        wait_s=30,
        request_id="mine",
    )
    assert answer.booking.name == f"{ROOM}/bookings/b1"
    (request,) = server.requests["CreateBooking"]
    assert (request.parent, request.request_id, request.rrule) == (ROOM, "mine", "FREQ=DAILY;COUNT=3")
    assert request.booking.organizer.email == "ada@acme.example"
    told = [(one.person.email, one.optional_attendee) for one in request.booking.attendees]
    assert told == [("bob@acme.example", False), ("eve@acme.example", True)]
    assert request.completion == WriteCompletion.WRITE_COMPLETION_ROOM_ANSWERED
    assert (request.max_wait.seconds, request.mode) == (30, WriteMode.WRITE_MODE_ORGANIZER)


async def test_write_is_sent_again_under_the_same_id(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    """Until it is answered, with the pauses that the service asks for."""
    script(server, UNKNOWN, DRAINING)
    assert (await client.create_booking(ROOM, NINE, TEN)).booking.name
    requests = server.requests["CreateBooking"]
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1
    assert requests[0].request_id
    assert clock.pauses[0] >= 1.0
    assert clock.pauses[1] >= 0.5


async def test_each_wish_has_an_id_of_its_own(server: FakeServer, client: ExchangeClient) -> None:
    script(server)
    for _ in range(2):
        await client.create_booking(ROOM, NINE, TEN)
    first, second = server.requests["CreateBooking"]
    assert first.request_id != second.request_id


async def test_doubt_at_the_end_of_the_time_is_told_with_the_id(server: FakeServer, client: ExchangeClient) -> None:
    """Whoever calls again with it learns the outcome."""
    script(server, *[UNKNOWN] * 50)
    with pytest.raises(OutcomeUnknown) as caught:
        await client.create_booking(ROOM, NINE, TEN, timeout_s=5.0)
    assert caught.value.metadata["request_id"] == server.requests["CreateBooking"][0].request_id
    assert isinstance(caught.value, Unavailable)


async def test_no_answer_in_time_is_doubt(server: FakeServer, client: ExchangeClient) -> None:
    script(server, HANG)
    with pytest.raises(OutcomeUnknown):
        await client.create_booking(ROOM, NINE, TEN, timeout_s=0.1)


async def test_conflict_tells_when_the_room_is_taken(server: FakeServer, client: ExchangeClient) -> None:
    """And is not asked again: it is an answer."""
    metadata = {"conflicts_count": "1", "start_time": "2026-11-23T09:30:00Z", "end_time": "2026-11-23T10:30:00Z"}
    script(server, Fault(grpc.StatusCode.FAILED_PRECONDITION, "ROOM_CONFLICT", metadata=metadata))
    with pytest.raises(RoomConflict) as caught:
        await client.create_booking(ROOM, NINE, TEN)
    half = timedelta(minutes=30)
    assert caught.value.windows == ((NINE + half, TEN + half),)
    assert len(server.requests["CreateBooking"]) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"), RequestIdReused),
        (Fault(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"), InvalidRequest),
    ],
)
async def test_refusals_have_classes(
    server: FakeServer, client: ExchangeClient, fault: Fault, kind: type[Exception]
) -> None:
    script(server, fault)
    with pytest.raises(kind):
        await client.create_booking(ROOM, NINE, TEN)


async def test_check_in_tells_who_and_when(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["CheckIn"] = lambda request: CheckInResponse(booking=Booking(name=request.name))
    await client.check_in(f"{ROOM}/bookings/b1", by="badge-7", at=NINE)
    await client.check_in(f"{ROOM}/bookings/b1", undo=True)
    first, second = server.requests["CheckIn"]
    assert (first.check_in_by, first.check_in_time.seconds) == ("badge-7", int(NINE.timestamp()))
    assert (second.undo, second.HasField("check_in_time")) == (True, False)


async def test_release_is_sent_again_under_one_id(server: FakeServer, client: ExchangeClient) -> None:
    answers = iter([UNKNOWN, ReleaseBookingResponse()])
    server.answers["ReleaseBooking"] = lambda request: next(answers)
    reason = ReleaseBookingRequest.REASON_NO_SHOW
    released = await client.release_booking(f"{ROOM}/bookings/b1", reason=reason, comment="Nobody came.", etag="e1")
    assert not released.HasField("booking")
    first, second = server.requests["ReleaseBooking"]
    assert first == second
    assert (first.reason, first.comment, first.etag) == (reason, "Nobody came.", "e1")
    assert first.request_id


async def test_update_names_what_is_to_change_and_nothing_else(server: FakeServer, client: ExchangeClient) -> None:
    """An empty text is a change, too."""
    answers = iter([UNKNOWN, UpdateBookingResponse(), UpdateBookingResponse()])
    server.answers["UpdateBooking"] = lambda request: next(answers)
    name = f"{ROOM}/bookings/b1"
    scope = SeriesScope.SERIES_SCOPE_FOLLOWING
    await client.update_booking(name, start_at=NINE, end_at=TEN, subject="", scope=scope, etag="e1", attendees=[])
    await client.update_booking(name, rrule="FREQ=DAILY")
    first, again, rule = server.requests["UpdateBooking"]
    assert first == again
    assert sorted(first.update_mask.paths) == ["attendees", "subject", "time"]
    assert (first.booking.name, first.booking.etag, first.scope) == (name, "e1", scope)
    assert (rule.rrule, list(rule.update_mask.paths)) == ("FREQ=DAILY", [])
    with pytest.raises(ValueError, match="nothing"):
        await client.update_booking(name)
    with pytest.raises(ValueError, match="start and an end"):
        await client.update_booking(name, start_at=NINE)


async def test_cancel_is_sent_again_under_one_id(server: FakeServer, client: ExchangeClient) -> None:
    answers = iter([UNKNOWN, CancelBookingResponse(booking=Booking(state=Booking.STATE_CANCELLED))])
    server.answers["CancelBooking"] = lambda request: next(answers)
    cancelled = await client.cancel_booking(f"{ROOM}/bookings/b1", comment="Off.", allow_missing=True)
    assert cancelled.booking.state == Booking.STATE_CANCELLED
    first, again = server.requests["CancelBooking"]
    assert first == again
    assert (first.comment, first.allow_missing) == ("Off.", True)


async def test_one_address_is_no_list_of_attendees(client: ExchangeClient) -> None:
    with pytest.raises(ValueError, match="list"):
        await client.create_booking(ROOM, NINE, TEN, attendees="bob@acme.example")


async def test_sync_client_sends_again_too(
    server: FakeServer, sync_client: SyncExchangeClient, sync_clock: FakeSyncClock
) -> None:
    """With the same pauses, and until the client is closed."""
    script(server, UNKNOWN)
    answer = await asyncio.to_thread(sync_client.create_booking, ROOM, NINE, TEN)
    assert answer.booking.name
    assert len({request.request_id for request in server.requests["CreateBooking"]}) == 1
    assert sync_clock.pauses[0] >= 1.0
    sync_client.close()
    with pytest.raises(ClientClosed):
        await asyncio.to_thread(sync_client.create_booking, ROOM, NINE, TEN)
