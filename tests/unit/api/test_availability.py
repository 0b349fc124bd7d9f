"""FindAvailability over the wire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest

from sidecar.api import availability
from sidecar.errors import GraphUnavailable, MailboxDenied
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.graph.wire import GraphTime
from sidecar.graph.wire_schedules import Schedule, ScheduleItem
from sidecar.model.booking import BookingState
from sidecar.model.window import EPOCH, Window
from tests.support.builders import HORIZON, NOW, TENANT, after, make_booking, make_mapping, make_problem
from tests.unit.api.rig import Rig, failing, window_of

PARENT = f"tenants/{TENANT}"
DAY = Window(NOW, NOW + timedelta(hours=10))


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a tenant."""
    await rig.db.add_tenant()
    return rig


def asking(*room_ids: str, during: Window = DAY, **fields: Any) -> pb.FindAvailabilityRequest:  # any field
    rooms = [f"{PARENT}/rooms/{room_id}" for room_id in room_ids]
    return pb.FindAvailabilityRequest(**{"parent": PARENT, "rooms": rooms, "window": window_of(during), **fields})


def minutes_of(windows: Any) -> list[tuple[int, int]]:  # a repeated field
    """Return free spans in minutes after NOW."""

    def minute(at: Any) -> int:  # a Timestamp
        return int((EPOCH + timedelta(seconds=at.seconds) - NOW) / timedelta(minutes=1))

    return [(minute(one.start_time), minute(one.end_time)) for one in windows]


def free(response: pb.FindAvailabilityResponse) -> dict[str, list[tuple[int, int]]]:
    return {one.room.rpartition("/")[2]: minutes_of(one.free) for one in response.availabilities}


def causes(response: pb.FindAvailabilityResponse) -> dict[str, str]:
    return {one.room.rpartition("/")[2]: one.problem.reason for one in response.availabilities}


def schedule(*items: tuple[datetime, datetime, str]) -> Schedule:
    """What Exchange tells of a calendar."""

    def told(at: datetime) -> GraphTime:
        return GraphTime(date_time=at.strftime("%Y-%m-%dT%H:%M:%S.0000000"), time_zone="UTC")

    return Schedule(
        schedule_id="x",
        schedule_items=[ScheduleItem(status=status, start=told(start), end=told(end)) for start, end, status in items],
    )


async def test_free_spans_of_the_copy_are_told(rig: Rig) -> None:
    """Between bookings that take the room, whatever their state is called; with the state of the copy."""
    await rig.db.add_filled_room(
        "r1",
        make_booking("a", start_at=after(hours=1)),
        make_booking("b", start_at=after(hours=3), state=BookingState.PENDING),
        make_booking("c", start_at=after(hours=5), state=BookingState.CANCELLED),
    )
    response = await rig.bookings.FindAvailability(asking("r1"))
    assert free(response) == {"r1": [(0, 60), (120, 180), (240, 600)]}
    assert causes(response) == {"r1": ""}
    assert response.availabilities[0].sync.state == common_pb.SYNC_STATE_POLLING


async def test_length_and_time_to_spare_are_respected(rig: Rig) -> None:
    """Also toward a booking that lies outside of the window."""
    await rig.db.add_filled_room(
        "r1",
        make_booking("before", start_at=after(hours=-1)),
        make_booking("a", start_at=after(hours=1)),
        make_booking("behind", start_at=after(hours=10)),
    )
    request = asking("r1")
    request.min_duration.FromSeconds(3600)
    request.buffer_before.FromSeconds(600)
    request.buffer_after.FromSeconds(300)
    assert free(await rig.bookings.FindAvailability(request)) == {"r1": [(130, 595)]}


async def test_rooms_come_in_the_order_asked_for(rig: Rig) -> None:
    """And without names all come, by their ids."""
    for room_id in ("r2", "r1", "r3"):
        await rig.db.add_filled_room(room_id)
    assert list(free(await rig.bookings.FindAvailability(asking("r3", "r1")))) == ["r3", "r1"]
    assert list(free(await rig.bookings.FindAvailability(asking()))) == ["r1", "r2", "r3"]


async def test_room_that_is_not_mapped_is_named(rig: Rig) -> None:
    """The others are told all the same."""
    await rig.db.add_filled_room("r1")
    response = await rig.bookings.FindAvailability(asking("nowhere", "r1"))
    assert causes(response) == {"nowhere": "ROOM_NOT_FOUND", "r1": ""}
    assert not response.availabilities[0].HasField("sync")


async def test_small_rooms_are_left_out_and_unknown_ones_named(rig: Rig) -> None:
    """Nobody is sent to a room of which it is not known whether it has the seats."""
    for room_id, capacity in (("big", 12), ("small", 4), ("unknown", 0)):
        await rig.db.fill(await rig.db.map_room(make_mapping(room_id, capacity=capacity)))
    response = await rig.bookings.FindAvailability(asking("small", "unknown", "big", min_capacity=8))
    assert causes(response) == {"unknown": "CAPACITY_UNKNOWN", "big": ""}
    assert free(response) == {"unknown": [], "big": [(0, 600)]}


async def test_room_whose_copy_cannot_be_trusted_never_passes_for_free(rig: Rig) -> None:
    """Not read yet, refused, or not checked for long: each with its cause."""
    await rig.db.add_room("importing")
    denied = await rig.db.add_filled_room("denied")
    await rig.db.store.rooms.set_problem(denied.uid, make_problem("MAILBOX_ACCESS_DENIED"), lease=None)
    await rig.db.add_filled_room("old")
    rig.clock.at = after(minutes=20)
    await rig.db.fill(await rig.db.add_room("fresh"))
    response = await rig.bookings.FindAvailability(asking("importing", "denied", "old", "fresh"))
    assert causes(response) == {
        "importing": "ROOM_IMPORTING",
        "denied": "MAILBOX_ACCESS_DENIED",
        "old": "ROOM_STALE",
        "fresh": "",
    }
    assert free(response) == {"importing": [], "denied": [], "old": [], "fresh": [(0, 600)]}


async def test_suspended_tenant_tells_nothing_and_asks_nothing(rig: Rig) -> None:
    """Also where Exchange was to be asked."""
    await rig.db.add_filled_room("r1")
    await rig.db.store.lifecycle.suspend(TENANT, reason="on hold")
    for bypass in (False, True):
        assert causes(await rig.bookings.FindAvailability(asking("r1", bypass_cache=bypass))) == {
            "r1": "TENANT_SUSPENDED"
        }
    assert not rig.directory.asked


async def test_window_beyond_the_horizon_is_told_as_far_as_it_is_known(rig: Rig) -> None:
    """What lies behind is nobody's guess, nor is the time that a booking right behind it would need."""
    await rig.db.add_filled_room("r1")
    across = Window(HORIZON.end_at - timedelta(hours=2), HORIZON.end_at + timedelta(hours=2))
    request = asking("r1", during=across)
    request.buffer_after.FromSeconds(600)
    response = await rig.bookings.FindAvailability(request)
    assert causes(response) == {"r1": "OUTSIDE_HORIZON"}
    (span,) = response.availabilities[0].free
    assert span.start_time.seconds == int(across.start_at.timestamp())
    assert span.end_time.seconds == int((HORIZON.end_at - timedelta(minutes=10)).timestamp())
    behind = Window(HORIZON.end_at, HORIZON.end_at + timedelta(hours=2))
    response = await rig.bookings.FindAvailability(asking("r1", during=behind))
    assert (free(response), causes(response)) == ({"r1": []}, {"r1": "OUTSIDE_HORIZON"})


async def test_bypass_tells_what_exchange_says(rig: Rig) -> None:
    """Not the copy, even of a room whose copy was never read; what is shown as free is free."""
    room = await rig.db.add_filled_room("r1", make_booking("a", start_at=after(hours=1)))
    other = await rig.db.add_room("r2")
    rig.directory.schedules = {
        room.mailbox.casefold(): schedule(
            (after(hours=2), after(hours=3), "busy"), (after(hours=5), after(hours=6), "free")
        ),
        other.mailbox.casefold(): schedule((after(hours=4), after(hours=5), "tentative")),
    }
    response = await rig.bookings.FindAvailability(asking("r1", "r2", bypass_cache=True))
    assert free(response) == {"r1": [(0, 120), (180, 600)], "r2": [(0, 240), (300, 600)]}
    assert response.availabilities[1].sync.state == common_pb.SYNC_STATE_INITIALIZING


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GraphUnavailable("away"), "EXCHANGE_UNAVAILABLE"),
        (MailboxDenied("no"), "MAILBOX_ACCESS_DENIED"),
    ],
)
async def test_room_that_exchange_tells_nothing_of_is_named(rig: Rig, error: Exception, reason: str) -> None:
    """The call does not fail: other rooms may be told."""
    await rig.db.add_filled_room("r1")
    rig.directory.error = error  # type: ignore[assignment]  # one of ours
    response = await rig.bookings.FindAvailability(asking("r1", bypass_cache=True))
    assert (free(response), causes(response)) == ({"r1": []}, {"r1": reason})


async def test_token_of_another_tenant_is_refused(rig: Rig) -> None:
    """What it stands for cannot be in the answer."""
    await rig.db.add_tenant("other")
    window = window_of(DAY)
    other = await rig.bookings.ListBookings(pb.ListBookingsRequest(parent="tenants/other/rooms/-", window=window))
    told = await failing(rig.bookings.FindAvailability(asking(read_after_token=other.resume_token)))
    assert told.reason == "RESUME_TOKEN_SCOPE_MISMATCH"
    own = await rig.bookings.ListBookings(pb.ListBookingsRequest(parent=f"{PARENT}/rooms/-", window=window))
    await rig.bookings.FindAvailability(asking(read_after_token=own.resume_token))


async def test_more_rooms_than_an_answer_takes_are_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.setattr(availability, "_ROOMS_MAX", 2)
    for room_id in ("r1", "r2", "r3"):
        await rig.db.add_room(room_id)
    told = await failing(rig.bookings.FindAvailability(asking()))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AVAILABILITY_TOO_LARGE")
    assert told.metadata == {"cause": "ROOMS"}
    assert len((await rig.bookings.FindAvailability(asking("r1", "r3"))).availabilities) == 2


@pytest.mark.parametrize(("limit", "cause"), [("_BOOKINGS_MAX", "BOOKINGS"), ("_SPANS_MAX", "SPANS")])
async def test_answer_that_would_be_too_large_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, limit: str, cause: str
) -> None:
    """Rather than cut: what is missing would pass for free, or for taken."""
    monkeypatch.setattr(availability, limit, 1)
    await rig.db.add_filled_room("r1", *(make_booking(f"b{n}", start_at=after(hours=2 * n)) for n in range(3)))
    told = await failing(rig.bookings.FindAvailability(asking("r1")))
    assert (told.reason, told.metadata) == ("AVAILABILITY_TOO_LARGE", {"cause": cause})


async def test_unknown_tenant_is_not_found(rig: Rig) -> None:
    told = await failing(rig.bookings.FindAvailability(asking(parent="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"parent": "acme"}, {"parent"}),
        ({"rooms": ["tenants/other/rooms/r1"]}, {"rooms[0]"}),
        ({"rooms": [f"{PARENT}/rooms/r1", "r2"]}, {"rooms[1]"}),
        ({"rooms": [f"{PARENT}/rooms/-"]}, {"rooms[0]"}),
        ({"rooms": [f"{PARENT}/rooms/r1"] * 2}, {"rooms"}),
        ({"rooms": [f"{PARENT}/rooms/r{number}" for number in range(501)]}, {"rooms"}),
        ({"window": None}, {"window"}),
        ({"window": window_of(Window(NOW, NOW + timedelta(days=60, seconds=1)))}, {"window"}),
        ({"min_duration": {"seconds": -1}}, {"min_duration"}),
        ({"min_duration": {"seconds": 61 * 86_400}}, {"min_duration"}),
        ({"min_capacity": -1}, {"min_capacity"}),
        ({"buffer_before": {"seconds": 8 * 3600 + 1}}, {"buffer_before"}),
        ({"buffer_after": {"seconds": -5}, "min_capacity": -1}, {"buffer_after", "min_capacity"}),
    ],
)
async def test_broken_rules_are_named(rig: Rig, fields: dict[str, Any], violated: set[str]) -> None:
    """All of a request's together."""
    told = await failing(rig.bookings.FindAvailability(asking(**fields)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(told.violations) == violated
