"""What occupies many rooms, read at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sidecar.errors import TenantNotFound
from sidecar.model.booking import BookingState
from sidecar.model.ids import BookingKey, EventId, RoomId, TenantId
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.model.write import Write, WriteKind, WriteState
from sidecar.store.occupancy import Occupancy
from sidecar.store.write_steps import step_to
from sidecar.store.writes import NewWrite
from tests.support.builders import NOW, TENANT, after, make_booking
from tests.support.stores import OpenStore

HOUR = Window(NOW, NOW + timedelta(hours=1))


async def load(
    opened: OpenStore, *room_ids: str, window: Window = HOUR, rooms_max: int = 500, bookings_max: int = 1_000
) -> Occupancy:
    """Ask for rooms, or for all."""
    wanted = [RoomId(room_id) for room_id in room_ids] or None
    return await opened.store.occupancies.load(TENANT, wanted, window, rooms_max=rooms_max, bookings_max=bookings_max)


def told(found: Occupancy) -> dict[str, list[tuple[datetime, datetime]]]:
    """Return what is busy by the callers' ids."""
    return {room.room_id: found.busy[room.uid] for room in found.rooms}


async def test_each_room_is_told_with_what_takes_it(opened: OpenStore) -> None:
    """Also one that nothing takes; in the order of starts."""
    await opened.add_tenant()
    later = make_booking("late", start_at=after(minutes=40), minutes=10)
    await opened.add_filled_room("r1", later, make_booking("soon", minutes=30))
    await opened.add_filled_room("r2")
    found = await load(opened)
    assert told(found) == {"r1": [(NOW, after(minutes=30)), (after(minutes=40), after(minutes=50))], "r2": []}
    assert not found.is_cut


async def test_bookings_beside_the_window_or_not_taking_the_room_are_left_out(opened: OpenStore) -> None:
    """Half-open, and cancelled meetings are in nobody's way."""
    await opened.add_tenant()
    await opened.add_filled_room(
        "r1",
        make_booking("before", start_at=after(minutes=-61)),
        make_booking("behind", start_at=after(hours=1)),
        make_booking("cancelled", state=BookingState.CANCELLED),
        make_booking("pending", state=BookingState.PENDING, start_at=after(minutes=5), minutes=5),
        make_booking("across", start_at=after(hours=-3), minutes=600),
    )
    assert told(await load(opened)) == {
        "r1": [(after(hours=-3), after(hours=7)), (after(minutes=5), after(minutes=10))]
    }


@pytest.mark.parametrize("count", [1, 2, 21, 101])
async def test_only_rooms_that_were_asked_for_are_told(opened: OpenStore, count: int) -> None:
    """However many there are; rooms that are not mapped are left out."""
    await opened.add_tenant()
    for room_id in ("r1", "r2", "r3"):
        await opened.add_filled_room(room_id, make_booking(f"b-{room_id}"))
    asked = ["r2", *(f"other-{number}" for number in range(count - 1))]
    assert list(told(await load(opened, *asked))) == ["r2"]


async def test_another_tenants_room_of_the_same_name_is_not_told(opened: OpenStore) -> None:
    """Names are a tenant's own."""
    await opened.add_tenant()
    await opened.add_tenant("other")
    await opened.add_room("r1", tenant_id=TenantId("other"))
    assert told(await load(opened, "r1")) == {}


async def test_more_rooms_than_asked_for_is_said(opened: OpenStore) -> None:
    """Nobody takes a part for the whole."""
    await opened.add_tenant()
    for room_id in ("r1", "r2"):
        await opened.add_room(room_id)
    assert (await load(opened, rooms_max=1)).is_cut
    assert not (await load(opened, rooms_max=2)).is_cut


async def test_more_bookings_than_are_read_is_said(opened: OpenStore) -> None:
    """A booking that was not read must not pass for free time."""
    await opened.add_tenant()
    await opened.add_filled_room(
        "r1", *(make_booking(f"b{minute}", start_at=after(minutes=minute)) for minute in range(3))
    )
    assert (await load(opened, bookings_max=2)).is_cut
    assert not (await load(opened, bookings_max=3)).is_cut


async def test_bookings_of_writes_under_way_are_told_by_room(opened: OpenStore) -> None:
    """A series with all of it; no longer once the write has ended."""
    await opened.add_tenant()
    master = EventId("event-series")
    room = await opened.add_filled_room(
        "r1",
        make_booking("single", start_at=after(hours=1)),
        make_booking("others", start_at=after(hours=2)),
        *(make_booking(f"s{n}", start_at=after(days=n, hours=5), master_id=master) for n in range(2)),
    )
    idle = await opened.add_filled_room("r2", make_booking("idle"))
    writes = [await _begun(opened, room, "single", None), await _begun(opened, room, "s0", master)]
    found = await opened.store.occupancies.load_unsettled([room.uid, idle.uid])
    assert set(found) == {room.uid}
    assert set(found[room.uid]) == {
        (after(hours=1), after(hours=2)),
        (after(hours=5), after(hours=6)),
        (after(days=1, hours=5), after(days=1, hours=6)),
    }
    for write in writes:
        await opened.store.writes.note(step_to(write, replace(write, state=WriteState.DONE), claim_s=45.0))
    assert await opened.store.occupancies.load_unsettled([room.uid]) == {}
    assert await opened.store.occupancies.load_unsettled([]) == {}


async def _begun(opened: OpenStore, room: Room, key: str, event_id: EventId | None) -> Write:
    """Begin a write that Exchange has carried out."""
    new = NewWrite(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        request_id=key,
        kind=WriteKind.CREATE,
        digest=b"d",
        payload=b"p",
    )
    write = (await opened.store.writes.begin(new, claim_s=45.0)).write
    made = replace(write, state=WriteState.UNSETTLED, booking_key=BookingKey(key), event_id=event_id)
    await opened.store.writes.note(step_to(write, made, claim_s=45.0))
    return made


async def test_unknown_tenant_is_refused(opened: OpenStore) -> None:
    """An empty answer would say that it has no rooms."""
    with pytest.raises(TenantNotFound):
        await load(opened)
