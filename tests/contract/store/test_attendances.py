"""Our own data of bookings: kept by their keys, told as changes, gone with their rooms."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.errors import BookingNotFound, BookingOver, CheckInClosed, RoomNotFound
from sidecar.model.booking import BookingState
from sidecar.model.change import Change, ChangeKind
from sidecar.model.ids import BookingKey, RoomId
from sidecar.model.room import Room
from sidecar.store.attendances import Attended, CheckInWish
from tests.support.builders import NOW, TENANT, after, always, make_booking, removal, upsert
from tests.support.stores import ManualClock, OpenStore, decoded

KEY = BookingKey("b1")
ROOM = RoomId("r1")
CAME = CheckInWish(by="badge 7")


async def room_with_booking(opened: OpenStore) -> Room:
    await opened.add_tenant()
    return await opened.add_filled_room("r1", make_booking("b1"))


async def check_in(opened: OpenStore, wish: CheckInWish = CAME) -> Attended:
    return await opened.store.attendances.check_in(TENANT, ROOM, KEY, wish)


async def entries_after(opened: OpenStore, room: Room, revision: int) -> list[Change]:
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=revision, count_max=1000)
    return list(entries)


async def rows(opened: OpenStore) -> list[tuple[object, ...]]:
    return await opened.fetch("SELECT booking_key, check_in_by FROM attendances")


async def test_check_in_is_one_change_of_the_booking(opened: OpenStore) -> None:
    room = await room_with_booking(opened)
    head = await opened.head()
    attended = await check_in(opened)
    (entry,) = await entries_after(opened, room, head)
    assert (entry.kind, entry.booking_key, entry.revision) == (ChangeKind.UPSERTED, KEY, head + 1)
    assert entry.body == attended.body == await opened.store.calendars.load_body(TENANT, ROOM, KEY)
    assert "badge 7" in str(decoded(entry.body)["attendance"])
    assert attended.revision == head + 1


async def test_first_check_in_stands(opened: OpenStore) -> None:
    """Two taps at one panel are one check-in, and a repeat of a call is no news."""
    await room_with_booking(opened)
    first = await check_in(opened)
    assert await check_in(opened, CheckInWish(by="badge 8")) == first


async def test_undone_check_in_leaves_nothing(opened: OpenStore) -> None:
    room = await room_with_booking(opened)
    await check_in(opened)
    head = await opened.head()
    for _ in range(2):  # the second one changes nothing
        attended = await check_in(opened, CheckInWish(is_undo=True))
    assert decoded(attended.body)["attendance"] is None
    assert await rows(opened) == []
    assert len(await entries_after(opened, room, head)) == 1


async def test_moved_booking_keeps_its_check_in(opened: OpenStore) -> None:
    room = await room_with_booking(opened)
    await check_in(opened)
    await opened.store.calendars.apply(room, always(upsert(make_booking("b1", start_at=after(hours=5)))), lease=None)
    assert await rows(opened) == [(KEY, "badge 7")]


async def test_booking_that_was_away_for_a_while_keeps_its_check_in(opened: OpenStore, clock: ManualClock) -> None:
    room = await room_with_booking(opened)
    await check_in(opened)
    await opened.store.calendars.apply(room, always(removal("b1")), lease=None)
    clock.at += timedelta(days=6)
    assert await opened.store.attendances.prune(room.tenant_uid) == 0
    assert await rows(opened) == [(KEY, "badge 7")]


async def test_check_in_goes_some_time_after_its_booking(opened: OpenStore, clock: ManualClock) -> None:
    room = await room_with_booking(opened)
    await check_in(opened)
    clock.at += timedelta(days=8)
    assert await opened.store.attendances.prune(room.tenant_uid) == 0, "the booking is there"
    await opened.store.calendars.apply(room, always(removal("b1")), lease=None)
    assert await opened.store.attendances.prune(room.tenant_uid) == 1
    assert await rows(opened) == []


async def test_check_in_goes_with_its_room(opened: OpenStore) -> None:
    await room_with_booking(opened)
    await check_in(opened)
    await opened.store.rooms.unmap(TENANT, ROOM, etag="")
    assert await rows(opened) == []


async def test_room_with_another_mailbox_knows_nothing_of_the_former_ones_bookings(opened: OpenStore) -> None:
    room = await room_with_booking(opened)
    await check_in(opened)
    await opened.readdress(room, "other@contoso.example", is_same_mailbox=False)
    assert await rows(opened) == []


async def test_nobody_came_to_a_cancelled_booking(opened: OpenStore) -> None:
    await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking("b1", state=BookingState.CANCELLED))
    with pytest.raises(BookingOver):
        await check_in(opened)


@pytest.mark.parametrize("at", [NOW - timedelta(days=1, seconds=1), after(hours=25)])
async def test_nobody_came_a_day_before_or_after(opened: OpenStore, at: object) -> None:
    await room_with_booking(opened)
    with pytest.raises(CheckInClosed) as caught:
        await check_in(opened, CheckInWish(at=at))  # type: ignore[arg-type]  # instants, both
    assert caught.value.details == {"open_time": "2026-03-01T08:00:00+00:00", "close_time": "2026-03-03T09:00:00+00:00"}


async def test_unknown_booking_and_unknown_room_are_told_apart(opened: OpenStore) -> None:
    await opened.add_tenant()
    with pytest.raises(RoomNotFound):
        await check_in(opened)
    await opened.add_filled_room("r1")
    with pytest.raises(BookingNotFound):
        await check_in(opened)
