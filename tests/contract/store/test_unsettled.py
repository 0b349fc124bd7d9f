"""What reads may not say while a write has not ended, and what they may not bring back after it failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.booking import Booking, BookingState
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.model.write import Failure, Hold, Write, WriteKind, WriteState
from sidecar.store.write_steps import step_to
from sidecar.store.writes import NewWrite
from tests.support.builders import after, make_booking
from tests.support.stores import ManualClock, OpenStore, decoded


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    await opened.add_tenant()
    return await opened.add_filled_room()


async def _begin(opened: OpenStore, room: Room, *, hold: Hold, key: str | None = None) -> Write:
    new = NewWrite(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        request_id="q1",
        kind=WriteKind.CREATE,
        digest=b"d",
        payload=b"p",
        hold=hold,
        booking_key=None if key is None else BookingKey(key),
    )
    return (await opened.store.writes.begin(new, claim_s=45.0)).write


async def _step(opened: OpenStore, write: Write, state: WriteState, event_id: str | None = None) -> Write:
    failure = Failure("ROOM_CONFLICT", "") if state is WriteState.FAILED else None
    after_ = replace(write, state=state, failure=failure, event_id=None if event_id is None else EventId(event_id))
    await opened.store.writes.note(step_to(write, after_, claim_s=45.0))
    return after_


def _ours(write: Write, **changes: object) -> Booking:
    booking = make_booking("b1", start_at=after(minutes=60))
    return replace(booking, **{"transaction_id": write.transaction_id, **changes})  # type: ignore[arg-type]  # any field


async def _states(opened: OpenStore) -> list[int]:
    return [decoded(bytes(row[0]))["state"] for row in await opened.fetch("SELECT body FROM bookings ORDER BY key")]


async def test_booking_of_a_write_that_has_not_ended_is_pending(opened: OpenStore, room: Room) -> None:
    """By its transaction, before anybody knows the event."""
    write = await _begin(opened, room, hold=Hold.PENDING)
    await opened.fill(room, _ours(write))
    assert await _states(opened) == [BookingState.PENDING]


async def test_booking_is_confirmed_by_the_next_read_after_the_end(opened: OpenStore, room: Room) -> None:
    write = await _begin(opened, room, hold=Hold.PENDING)
    await opened.fill(room, _ours(write))
    await _step(opened, write, WriteState.DONE)
    await opened.fill(room, _ours(write))
    assert await _states(opened) == [BookingState.CONFIRMED]


async def test_occurrences_of_a_series_are_known_by_its_event(opened: OpenStore, room: Room) -> None:
    """Exchange need not tell the transaction of each."""
    write = await _begin(opened, room, hold=Hold.PENDING)
    await _step(opened, write, WriteState.UNSETTLED, "m1")
    await opened.fill(room, _ours(write, transaction_id="", master_id=EventId("m1")))
    assert await _states(opened) == [BookingState.PENDING]


async def test_read_says_nothing_new_of_a_booking_that_is_pending_already(opened: OpenStore, room: Room) -> None:
    write = await _begin(opened, room, hold=Hold.PENDING)
    await opened.fill(room, _ours(write))
    head = await opened.head()
    applied = await opened.fill(room, _ours(write, change_key="ck2"))
    assert (applied.changes_count, await opened.head()) == (0, head)


async def test_booking_of_a_failed_write_is_not_written(opened: OpenStore, room: Room) -> None:
    """A read that was under way saw it before it was taken back."""
    write = await _step(opened, await _begin(opened, room, hold=Hold.PENDING), WriteState.FAILED)
    await opened.fill(room, _ours(write))
    assert await _states(opened) == []


async def test_bookings_of_others_are_not_held_back(opened: OpenStore, room: Room) -> None:
    await _begin(opened, room, hold=Hold.PENDING)
    await opened.fill(room, make_booking("b2", start_at=after(minutes=60)))
    assert await _states(opened) == [BookingState.CONFIRMED]


async def test_booking_that_the_room_has_not_heard_of_stays_until_the_write_ends(opened: OpenStore, room: Room) -> None:
    """A read of the room's calendar does not show it."""
    booking = make_booking("b1", start_at=after(minutes=60))
    await opened.fill(room, booking)
    write = await _begin(opened, room, hold=Hold.PRESENT, key=booking.key)
    await opened.fill(room)
    assert len(await _states(opened)) == 1
    await _step(opened, write, WriteState.DONE)
    await opened.fill(room)
    assert await _states(opened) == []


async def test_series_that_is_being_changed_stays_as_it_was_until_the_write_ends(opened: OpenStore, room: Room) -> None:
    """What a read shows of it half-way is neither changed, nor added, nor taken away."""
    start_at = after(minutes=60)
    stays, goes, comes = (replace(make_booking(key, start_at=start_at), master_id=EventId("m1")) for key in "abc")
    await opened.fill(room, stays, goes)
    write = await _begin(opened, room, hold=Hold.FROZEN)
    write = await _step(opened, write, WriteState.SENT, "m1")
    changed = replace(stays, subject="Half-way")
    before = await opened.fetch("SELECT key, body FROM bookings ORDER BY key")
    applied = await opened.fill(room, changed, comes)
    assert applied.changes_count == 0
    assert await opened.fetch("SELECT key, body FROM bookings ORDER BY key") == before
    await _step(opened, write, WriteState.DONE)
    await opened.fill(room, changed, comes)
    assert await opened.fetch("SELECT key FROM bookings ORDER BY key") == [(stays.key,), (comes.key,)]


async def test_tail_that_a_series_is_to_be_cut_for_does_not_appear_before_the_cut(
    opened: OpenStore, room: Room
) -> None:
    """By the mark of the write, before anybody knows its event."""
    write = await _begin(opened, room, hold=Hold.FROZEN)
    tail = make_booking("t", start_at=after(minutes=60))
    await opened.fill(room, replace(tail, mark=write.uid), make_booking("other", start_at=after(minutes=90)))
    assert await opened.fetch("SELECT key FROM bookings") == [(make_booking("other").key,)]
    await _step(opened, write, WriteState.DONE)
    await opened.fill(room, replace(tail, mark=write.uid), make_booking("other", start_at=after(minutes=90)))
    assert len(await _states(opened)) == 2


async def test_younger_write_of_an_event_waits_for_the_one_that_is_half_way(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """For one with its series or with an occurrence of it, too; what has ended or sent nothing is waited for by nobody."""
    writes = opened.store.writes
    other = await _step(opened, await _begin(opened, room, hold=Hold.NONE), WriteState.SENT, "e1")
    new = NewWrite(
        tenant_uid=room.tenant_uid,
        room_uid=room.uid,
        request_id="q2",
        kind=WriteKind.UPDATE,
        digest=b"d",
        payload=b"p",
    )
    clock.advance(0.0001)  # within one millisecond ids are in no order
    younger = (await writes.begin(new, claim_s=45.0)).write
    assert await writes.is_other_first(younger, EventId("e1"))
    assert not await writes.is_other_first(younger, EventId("e2"))
    assert not await writes.is_other_first(other, EventId("e1"))
    other = await _step(opened, other, WriteState.DONE, "e1")
    assert not await writes.is_other_first(younger, EventId("e1"))


async def test_hours_of_a_series_that_is_being_changed_are_told_apart(opened: OpenStore) -> None:
    """Exchange may not show them just now; those of the events that do not count are not told at all."""
    await opened.add_tenant()
    booking = make_booking("b1", start_at=after(minutes=60))
    other = make_booking("b2", start_at=after(minutes=180))
    room = await opened.add_filled_room("r1", booking, other)
    day = Window(after(), after(minutes=1_440))
    windows = [Window(one.start_at, one.end_at) for one in (booking, other)]
    calendars = opened.store.calendars
    assert await calendars.load_taken(room.uid, day, besides=()) == ([], windows)
    write = await _begin(opened, room, hold=Hold.FROZEN)
    write = await _step(opened, write, WriteState.SENT, booking.event_id)
    assert await calendars.load_taken(room.uid, day, besides=()) == (windows[:1], windows[1:])
    assert await calendars.load_taken(room.uid, day, besides={booking.event_id}) == ([], windows[1:])
    await _step(opened, write, WriteState.DONE, booking.event_id)
    assert await calendars.load_taken(room.uid, day, besides={other.event_id}) == ([], windows[:1])
