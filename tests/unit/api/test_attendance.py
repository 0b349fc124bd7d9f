"""CheckIn over the wire: what is taken, and what readers see of it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.privacy import Privacy, Visibility
from tests.support.builders import NOW, TENANT, after, make_booking
from tests.unit.api.rig import Rig, failing, take, time_of

ROOM = "tenants/acme/rooms/r1"
NAME = f"{ROOM}/bookings/b1"


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a tenant, and a room with a booking of now."""
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1", make_booking("b1"))
    return rig


def _ids() -> tuple[TenantId, RoomId]:
    return TENANT, RoomId("r1")


def coming(**fields: Any) -> pb.CheckInRequest:  # any field of the request
    return pb.CheckInRequest(**{"name": NAME, "check_in_by": "badge 7", **fields})


async def test_check_in_shows_wherever_the_booking_is_read(rig: Rig) -> None:
    told = (await rig.bookings.CheckIn(coming())).booking
    assert (told.check_in_time, told.check_in_by) == (time_of(NOW), "badge 7")
    assert (await rig.bookings.GetBooking(pb.GetBookingRequest(name=NAME))).booking == told


async def test_check_in_arrives_on_the_watch(rig: Rig) -> None:
    stream = rig.watch.WatchRoom(watch_pb.WatchRoomRequest(room=ROOM))
    await take(stream, "snapshot_end")
    told = (await rig.bookings.CheckIn(coming())).booking
    message: Any = await take(stream, "changes")  # a message of the watch
    assert [change.booking for change in message.changes.changes] == [told]


async def test_calendar_read_again_changes_nothing_of_a_checked_in_booking(rig: Rig) -> None:
    """What Exchange does not know, no read of it takes away, and watchers hear nothing."""
    told = (await rig.bookings.CheckIn(coming())).booking
    room = await rig.db.store.rooms.load(*_ids())
    applied = await rig.db.fill(room, make_booking("b1"))
    assert (applied.changes_count, applied.drift_count) == (0, 0)
    assert (await rig.bookings.GetBooking(pb.GetBookingRequest(name=NAME))).booking == told


async def test_version_differs_once_somebody_came(rig: Rig) -> None:
    before = (await rig.bookings.GetBooking(pb.GetBookingRequest(name=NAME))).booking
    told = (await rig.bookings.CheckIn(coming())).booking
    assert told.etag != before.etag
    assert told.revision > before.revision


async def test_undo_gives_the_booking_as_it_was(rig: Rig) -> None:
    before = (await rig.bookings.GetBooking(pb.GetBookingRequest(name=NAME))).booking
    await rig.bookings.CheckIn(coming())
    told = (await rig.bookings.CheckIn(pb.CheckInRequest(name=NAME, undo=True))).booking
    assert told.etag == before.etag
    told.revision = before.revision
    assert told == before


async def test_stricter_settings_leave_the_check_in(rig: Rig) -> None:
    """It holds no words and no person; what else is erased of the booking is erased."""
    await rig.bookings.CheckIn(coming())
    body = await rig.db.store.calendars.load_body(*_ids(), make_booking("b1").key)
    assert body is not None
    kept, _ = ProtoBookingCodec().restrict(body, privacy=Privacy(subject=Visibility.MASKED), hash_key=b"")
    booking = pb.Booking.FromString(kept)
    assert (booking.check_in_by, booking.subject, booking.subject_state) == (
        "badge 7",
        "",
        pb.Booking.SUBJECT_STATE_MASKED,
    )


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"name": ROOM}, "name"),
        ({"check_in_by": "ada@contoso.example"}, "check_in_by"),
        ({"check_in_by": "ü" * 65}, "check_in_by"),
        ({"check_in_by": "a\nb"}, "check_in_by"),
        ({"check_in_time": time_of(after(minutes=2))}, "check_in_time"),
        ({"undo": True}, "check_in_by"),
        ({"undo": True, "check_in_by": "", "check_in_time": time_of(NOW)}, "check_in_time"),
    ],
)
async def test_broken_rule_is_told_by_its_field(rig: Rig, fields: dict[str, Any], violated: str) -> None:
    status = await failing(rig.bookings.CheckIn(coming(**fields)))
    assert (status.code, list(status.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [violated])


async def test_longest_id_is_taken(rig: Rig) -> None:
    assert (await rig.bookings.CheckIn(coming(check_in_by="ü" * 64))).booking.check_in_by == "ü" * 64


async def test_time_at_which_nobody_can_have_come_is_refused_with_the_span(rig: Rig) -> None:
    status = await failing(rig.bookings.CheckIn(coming(check_in_time=time_of(after(days=-2)))))
    assert (status.code, status.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHECK_IN_CLOSED")
    assert status.metadata == {"open_time": "2026-03-01T08:00:00+00:00", "close_time": "2026-03-03T09:00:00+00:00"}
