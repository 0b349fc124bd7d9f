"""Reading bookings: lists by time, and snapshots by key."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sidecar.errors import TenantNotFound
from sidecar.model.booking import Booking, BookingState
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantId
from sidecar.model.room import Room
from sidecar.model.window import Window
from tests.support.builders import ALWAYS, NOW, TENANT, after, always, make_booking, removal, upsert
from tests.support.stores import OpenStore, decoded

HOUR = Window(NOW, NOW + timedelta(hours=1))


async def listed(
    opened: OpenStore, room: Room | None, window: Window = ALWAYS, *, count_max: int = 100, show_all: bool = False
) -> list[str]:
    """Read a list to its end, and return names or keys in its order."""
    found: list[str] = []
    place: tuple[datetime, RoomUid, BookingKey] | None = None
    while True:
        page = await opened.store.calendars.page(
            TENANT, None if room is None else room.uid, window, after=place, count_max=count_max, show_all=show_all
        )
        assert len(page.bodies) <= count_max
        found += [decoded(body)["key"] for body in page.bodies]
        if page.last is None:
            return found
        assert len(page.bodies) == count_max
        place = page.last


@pytest.mark.parametrize(
    ("start_at", "end_at", "is_inside"),
    [
        (after(hours=-1), after(), False),
        (after(hours=-1), after(microseconds=1), True),
        (after(hours=1), after(hours=2), False),
        (after(hours=1, microseconds=-1), after(hours=2), True),
        (after(hours=-5), after(hours=5), True),
        (after(minutes=10), after(minutes=20), True),
        (after(), after(hours=1), True),
        (after(), after(), True),
        (after(minutes=30), after(minutes=30), True),
        (after(hours=1), after(hours=1), False),
        (after(microseconds=-1), after(microseconds=-1), False),
    ],
)
async def test_list_holds_what_overlaps_the_window(
    opened: OpenStore, start_at: datetime, end_at: datetime, is_inside: bool
) -> None:
    """Windows are half-open, a booking without length counts as an instant, and the model says the same."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1", start_at=start_at, end_at=end_at))
    assert HOUR.overlaps(start_at, end_at) == is_inside
    for owner in (room, None):
        assert await listed(opened, owner, HOUR) == (["b1"] if is_inside else [])


@pytest.mark.parametrize("count_max", [1, 2, 3, 4, 100])
async def test_paging_over_equal_starts_repeats_and_skips_nothing(opened: OpenStore, count_max: int) -> None:
    """Bookings that start together come in one fixed order, so that a page may end between them."""
    await opened.add_tenant()
    bookings = [
        make_booking(key, start_at=after(hours=hour))
        for key, hour in zip("gfedcba", (0, 0, 0, 1, 1, 2, 2), strict=True)
    ]
    room = await opened.add_filled_room("r1", *bookings)
    assert await listed(opened, room, count_max=count_max) == list("efgcdab")


async def test_list_of_all_rooms_is_by_start_then_room(opened: OpenStore) -> None:
    """Rooms are merged into one order, and other tenants' rooms are not in it."""
    await opened.add_tenant()
    await opened.add_tenant("other")
    await opened.add_filled_room("r1", make_booking("a1"), make_booking("a2", start_at=after(hours=2)))
    await opened.add_filled_room("r2", make_booking("b1", start_at=after(hours=1)), make_booking("b2"))
    elsewhere = await opened.add_room("r1", tenant_id=TenantId("other"))
    await opened.fill(elsewhere, make_booking("x1"))
    uids = [(await opened.store.rooms.load(TENANT, RoomId(name))).uid for name in ("r1", "r2")]
    together = ["a1", "b2"] if uids[0] < uids[1] else ["b2", "a1"]
    for count_max in (1, 2, 100):
        assert await listed(opened, None, count_max=count_max) == [*together, "b1", "a2"]


async def test_list_of_an_unknown_tenant_is_refused(opened: OpenStore) -> None:
    """A tenant that does not exist has no empty list."""
    with pytest.raises(TenantNotFound):
        await opened.store.calendars.page(TENANT, None, ALWAYS, after=None, count_max=1, show_all=False)


async def test_bookings_that_do_not_take_the_room_are_shown_on_request_only(opened: OpenStore) -> None:
    """A declined booking is kept, but the room is free."""
    await opened.add_tenant()
    bookings = [make_booking(state.name, state=state) for state in BookingState]
    room = await opened.add_filled_room("r1", *bookings)
    assert await listed(opened, room) == ["CONFIRMED", "PENDING", "TENTATIVE"]
    assert await listed(opened, room, show_all=True) == ["CANCELLED", "CONFIRMED", "DECLINED", "PENDING", "TENTATIVE"]
    assert await opened.store.calendars.count(room.uid) == 3
    assert await opened.store.calendars.load_body(TENANT, room.room_id, BookingKey("DECLINED")) is not None
    assert await opened.store.calendars.load_body(TENANT, room.room_id, BookingKey("nobody")) is None


async def test_body_is_served_as_it_was_written(opened: OpenStore) -> None:
    """List, single read and snapshot give the same bytes."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    body = await opened.store.calendars.load_body(TENANT, room.room_id, BookingKey("b1"))
    assert body is not None
    page = await opened.store.calendars.page(TENANT, room.uid, ALWAYS, after=None, count_max=9, show_all=False)
    assert page.bodies == [body]
    assert await opened.store.calendars.snapshot_page(room.uid, after=BookingKey(""), count_max=9) == [("b1", body)]


async def test_snapshot_shows_once_what_exists_all_the_while(opened: OpenStore) -> None:
    """Whatever is written between two pages, a booking that was there before and after is in the snapshot once."""
    await opened.add_tenant()

    def numbered(*numbers: int) -> list[Booking]:
        return [make_booking(f"b{number:02}", start_at=after(hours=number)) for number in numbers]

    room = await opened.add_filled_room("r1", *numbered(0, 2, 4, 6, 8))
    seen: list[str] = []
    key = BookingKey("")
    changes = iter(
        [
            always(upsert(make_booking("b06", start_at=after(hours=-5))), removal("b00")),
            always(upsert(make_booking("b01")), upsert(make_booking("b07")), removal("b04")),
            always(upsert(make_booking("b02", start_at=after(days=9)))),
        ]
    )
    while True:
        page = await opened.store.calendars.snapshot_page(room.uid, after=key, count_max=1)
        if not page:
            break
        key = page[-1][0]
        seen.append(key)
        plan = next(changes, None)
        if plan is not None:
            await opened.store.calendars.apply(room, plan, lease=None)
    assert len(seen) == len(set(seen))
    assert {"b02", "b06", "b08"} <= set(seen)
    assert seen == ["b00", "b02", "b06", "b07", "b08"]
