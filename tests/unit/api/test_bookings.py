"""BookingService over the wire."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.model.booking import Booking, BookingState
from sidecar.model.cursor import decode_cursor
from sidecar.model.ids import TenantId
from sidecar.model.window import Window
from tests.support.builders import HORIZON, NOW, after, always, make_booking, make_problem, upsert
from tests.unit.api.rig import Rig, failing, time_of, window_of

ROOM = "tenants/acme/rooms/r1"
ALL = "tenants/acme/rooms/-"


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a tenant."""
    await rig.db.add_tenant()
    return rig


def asking(parent: str = ROOM, **fields: Any) -> pb.ListBookingsRequest:  # any field of the request
    return pb.ListBookingsRequest(**{"parent": parent, "window": window_of(), **fields})


def day(count: int) -> list[Booking]:
    return [make_booking(f"b{place:04}", start_at=after(minutes=30 * place), minutes=30) for place in range(count)]


def keys(page: pb.ListBookingsResponse) -> list[str]:
    return [booking.name.rpartition("/")[2] for booking in page.bookings]


async def all_pages(rig: Rig, **fields: Any) -> list[pb.ListBookingsResponse]:  # any field of the request
    pages = []
    token = ""
    while True:
        pages.append(await rig.bookings.ListBookings(asking(page_token=token, **fields)))
        token = pages[-1].next_page_token
        if not token:
            return pages


async def test_list_gives_the_bookings_that_touch_the_window_in_order(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", *reversed(day(6)))
    window = Window(after(minutes=45), after(minutes=90))
    page = await rig.bookings.ListBookings(asking(window=window_of(window)))
    assert keys(page) == ["b0001", "b0002"]
    assert page.sync.state == common_pb.SYNC_STATE_POLLING
    assert page.sync.horizon == window_of(HORIZON)


async def test_pages_follow_each_other_without_loss_and_share_one_resume_token(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", *day(25))
    pages = await all_pages(rig, page_size=10)
    assert [len(page.bookings) for page in pages] == [10, 10, 5]
    assert [key for page in pages for key in keys(page)] == [booking.key for booking in day(25)]
    assert len({page.resume_token for page in pages}) == 1


async def test_bookings_written_between_pages_do_not_disturb_the_others(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", *day(20))
    first = await rig.bookings.ListBookings(asking(page_size=10))
    await rig.db.store.calendars.apply(room, always(upsert(make_booking("aaa"))), lease=None)
    second = await rig.bookings.ListBookings(asking(page_size=10, page_token=first.next_page_token))
    assert keys(first) + keys(second) == [booking.key for booking in day(20)]
    assert second.resume_token == first.resume_token


async def test_list_of_all_rooms_mixes_them_by_start(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", *day(4)[::2])
    await rig.db.add_filled_room("r2", *day(4)[1::2])
    pages = await all_pages(rig, parent=ALL, page_size=3)
    assert [key for page in pages for key in keys(page)] == [booking.key for booking in day(4)]
    assert pages[0].bookings[1].name == "tenants/acme/rooms/r2/bookings/b0001"
    assert len({page.resume_token for page in pages}) == 1


async def test_state_of_all_rooms_is_that_of_the_worst(rig: Rig) -> None:
    await rig.db.add_filled_room("r1")
    room = await rig.db.add_filled_room("r2")
    await rig.db.store.rooms.set_problem(room.uid, make_problem(), lease=None)
    page = await rig.bookings.ListBookings(asking(ALL))
    assert page.sync.state == common_pb.SYNC_STATE_BLOCKED
    assert page.sync.problems[0].metadata["rooms_count"] == "1"


async def test_cancelled_bookings_are_shown_on_request_only(rig: Rig) -> None:
    gone = make_booking("b2", state=BookingState.CANCELLED)
    await rig.db.add_filled_room("r1", make_booking("b1"), gone)
    assert keys(await rig.bookings.ListBookings(asking())) == ["b1"]
    assert keys(await rig.bookings.ListBookings(asking(show_cancelled=True))) == ["b1", "b2"]


async def test_answer_is_cut_before_it_grows_beyond_what_clients_take(rig: Rig) -> None:
    large = [replace(booking, subject="x" * 100_000) for booking in day(70)]
    await rig.db.add_filled_room("r1", *large)
    for parent in (ROOM, ALL):
        pages = await all_pages(rig, parent=parent, page_size=1_000)
        assert len(pages) == 3
        assert all(page.ByteSize() < 3.2 * 1024 * 1024 for page in pages)
        assert [key for page in pages for key in keys(page)] == [booking.key for booking in large]


async def test_larger_page_than_the_most_is_clamped(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", *day(1_001))
    assert len((await rig.bookings.ListBookings(asking(page_size=5_000))).bookings) == 1_000
    assert len((await rig.bookings.ListBookings(asking())).bookings) == 100


async def test_written_booking_is_in_the_very_next_answer(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    for number in range(2, 40):
        before = await rig.bookings.ListBookings(asking())
        assert await rig.bookings.ListBookings(asking()) == before
        await rig.db.store.calendars.apply(room, always(upsert(make_booking(f"b{number}"))), lease=None)
        page = await rig.bookings.ListBookings(asking())
        assert f"b{number}" in keys(page)
        assert decode_cursor(page.resume_token).revision > decode_cursor(before.resume_token).revision


async def test_answer_read_while_a_write_is_under_way_is_not_given_again(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    listing = rig.bookings.ListBookings(asking())
    writing = rig.db.store.calendars.apply(room, always(upsert(make_booking("b2"))), lease=None)
    await writing
    await listing
    assert keys(await rig.bookings.ListBookings(asking())) == ["b1", "b2"]


async def test_copy_turns_stale_without_a_write(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", make_booking("b1"))
    assert (await rig.bookings.ListBookings(asking())).sync.state == common_pb.SYNC_STATE_POLLING
    rig.clock.at += timedelta(days=1)
    page = await rig.bookings.ListBookings(asking())
    assert page.sync.state == common_pb.SYNC_STATE_STALE
    assert page.sync.fresh_as_of_time == time_of(NOW)


async def test_unmapped_room_and_deleted_tenant_are_not_found_at_once(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking("b1"))
    await rig.bookings.ListBookings(asking())
    await rig.db.store.rooms.unmap(room.tenant_id, room.room_id, etag="")
    told = await failing(rig.bookings.ListBookings(asking()))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ROOM_NOT_FOUND")
    await rig.db.store.lifecycle.delete(TenantId("acme"), etag="")
    told = await failing(rig.bookings.ListBookings(asking(ALL)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"parent": "tenants/acme"}, {"parent"}),
        ({"window": None}, {"window"}),
        ({"page_size": -1}, {"page_size"}),
        ({"page_token": "garbage"}, {"page_token"}),
        ({"parent": "x" * 20_000, "page_token": "x" * 20_000, "window": None}, {"parent", "page_token", "window"}),
    ],
    ids=["parent", "window", "page_size", "page_token", "all at once and huge"],
)
async def test_broken_fields_are_named(rig: Rig, fields: dict[str, Any], named: set[str]) -> None:
    told = await failing(rig.bookings.ListBookings(asking(**fields)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(told.violations) == named
    assert b"xxxx" not in told.raw


@pytest.mark.parametrize(
    "other",
    [
        {"parent": ALL},
        {"page_size": 3},
        {"show_cancelled": True},
        {"window": window_of(Window(HORIZON.start_at, HORIZON.end_at + timedelta(days=1)))},
    ],
    ids=["parent", "page_size", "show_cancelled", "window"],
)
async def test_page_token_belongs_to_its_request(rig: Rig, other: dict[str, Any]) -> None:
    await rig.db.add_filled_room("r1", *day(5))
    token = (await rig.bookings.ListBookings(asking(page_size=2))).next_page_token
    told = await failing(rig.bookings.ListBookings(asking(**{"page_size": 2, "page_token": token, **other})))
    assert set(told.violations) == {"page_token"}


async def test_one_booking_is_read_by_name(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", make_booking("b1"))
    (listed,) = (await rig.bookings.ListBookings(asking())).bookings
    read = await rig.bookings.GetBooking(pb.GetBookingRequest(name=f"{ROOM}/bookings/b1"))
    assert read.booking == listed


async def test_missing_booking_room_and_bad_name_are_told_apart(rig: Rig) -> None:
    await rig.db.add_filled_room("r1")
    reasons = [
        (await failing(rig.bookings.GetBooking(pb.GetBookingRequest(name=name)))).reason
        for name in (f"{ROOM}/bookings/b1", "tenants/acme/rooms/r2/bookings/b1", ROOM)
    ]
    assert reasons == ["BOOKING_NOT_FOUND", "ROOM_NOT_FOUND", "FIELD_INVALID"]
