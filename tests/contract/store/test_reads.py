"""What a read proves, written down with it: freshness, the next delta link, and bookings that are held back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.errors import StoreConflict
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey
from sidecar.model.intent import Lease
from sidecar.model.plan import DeltaPlace, DeltaRead
from sidecar.model.room import Room
from tests.support.builders import HORIZON, after, always, complete_read, make_booking, make_problem, upsert
from tests.support.stores import OpenStore

PLACE = DeltaPlace("https://graph.microsoft.com/v1.0/x?$deltatoken=1", HORIZON)
LATER = DeltaRead(place=DeltaPlace("link-2", HORIZON), began_at=after(minutes=15))


async def read_room(opened: OpenStore) -> Room:
    """Map a room and read it for the first time, with a link."""
    await opened.add_tenant()
    room = await opened.add_room()
    complete = replace(complete_read(), place=PLACE)
    await opened.store.calendars.apply(room, always(upsert(make_booking("b1"))), lease=None, complete=complete)
    return await opened.reload(room)


async def test_link_and_its_window_are_kept_with_the_full_read(opened: OpenStore) -> None:
    """The next round goes on from there, in any process."""
    room = await read_room(opened)
    assert room.delta == PLACE


async def test_full_read_without_a_link_forgets_the_former_one(opened: OpenStore) -> None:
    """Its window is not the horizon any more, or it does not work; until when is kept, too."""
    room = await read_room(opened)
    complete = replace(complete_read(began_at=after(minutes=1)), no_delta_until_at=after(days=1))
    await opened.store.calendars.apply(room, always(), lease=None, complete=complete)
    room = await opened.reload(room)
    assert (room.delta, room.no_delta_until_at) == (None, after(days=1))


async def test_delta_round_moves_freshness_and_link_with_its_bookings(opened: OpenStore) -> None:
    """One transaction: what it named, where the next one begins, and as of when nothing is missing."""
    room = await read_room(opened)
    head = await opened.head()
    plan = always(upsert(make_booking("b2")))
    applied = await opened.store.calendars.apply(room, plan, lease=None, delta=LATER)
    room = await opened.reload(room)
    assert applied is not None
    assert (applied.changes_count, applied.drift_count) == (1, 0)
    assert (room.delta, room.fresh_as_of_at, room.horizon) == (LATER.place, LATER.began_at, HORIZON)
    assert room.news_at == opened.clock.now()
    assert await opened.head() == head + 1


async def test_quiet_delta_round_writes_no_entry(opened: OpenStore) -> None:
    """Ten thousand rooms are checked four times an hour."""
    room = await read_room(opened)
    head = await opened.head()
    await opened.store.calendars.apply(room, always(), lease=None, delta=LATER)
    assert await opened.head() == head
    assert (await opened.reload(room)).fresh_as_of_at == LATER.began_at


async def test_delta_round_with_a_lost_lease_keeps_the_former_link(opened: OpenStore) -> None:
    """What it named was not written; so it is to be told again."""
    room = await read_room(opened)
    with pytest.raises(StoreConflict):
        await opened.store.calendars.apply(room, always(), lease=Lease(room.tenant_uid, 99), delta=LATER)
    room = await opened.reload(room)
    assert (room.delta, room.fresh_as_of_at) == (PLACE, after())


async def test_delta_round_ends_a_refusal_and_says_so(opened: OpenStore) -> None:
    """The calendar could be read."""
    room = await read_room(opened)
    await opened.store.rooms.set_problem(room.uid, make_problem("MAILBOX_ACCESS_DENIED"), lease=None)
    room = await opened.reload(room)
    head = await opened.head()
    await opened.store.calendars.apply(room, always(), lease=None, delta=LATER)
    assert (await opened.reload(room)).problems == []
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=head, count_max=9)
    assert [entry.kind for entry in entries] == [ChangeKind.ROOM_CHANGED]


async def test_held_bookings_are_facts_of_the_room(opened: OpenStore) -> None:
    """They keep the time of the read that first lacked them, keep the freshness back, and are told once."""
    room = await read_room(opened)
    head = await opened.head()
    keys = [frozenset(map(BookingKey, names)) for names in (("b1", "b2"), ("b2", "b3"), ())]
    for number, held in enumerate(keys, 1):
        hold = make_problem("DELETION_HELD", seen_at=after(hours=number)) if held else None
        complete = replace(complete_read(began_at=after(hours=number)), held=held, hold=hold)
        await opened.store.calendars.apply(room, always(), lease=None, complete=complete)
        await opened.store.calendars.apply(room, always(), lease=None, delta=LATER)
        stored = await opened.store.calendars.load_held(room.uid)
        assert stored.keys() == held
        if number == 2:
            assert stored == {BookingKey("b2"): after(hours=1), BookingKey("b3"): after(hours=2)}
            found = await opened.reload(room)
            assert found.hold_problem is not None
            assert found.hold_problem.first_seen_at == after(hours=1)
            assert found.fresh_as_of_at == after()
    found = await opened.reload(room)
    assert (found.hold_problem, found.fresh_as_of_at) == (None, LATER.began_at)
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=head, count_max=9)
    assert [entry.kind for entry in entries] == [ChangeKind.ROOM_CHANGED] * 2


async def test_unmapped_room_takes_its_held_bookings_with_it(opened: OpenStore) -> None:
    """Nothing of it stays."""
    room = await read_room(opened)
    complete = replace(complete_read(), held=frozenset({BookingKey("b1")}), hold=make_problem("DELETION_HELD"))
    await opened.store.calendars.apply(room, always(), lease=None, complete=complete)
    await opened.store.rooms.unmap(room.tenant_id, room.room_id, etag="")
    assert await opened.fetch("SELECT * FROM held_bookings") == []
