"""Writes whose process dies, at any moment: one event, one answer, and nothing told that is not so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.errors import BookingNotFound, RoomConflict
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.model.change import Cause
from sidecar.model.intent import IntentKind
from sidecar.model.write import WriteState
from sidecar.sync.reading import Found
from tests.contract.writes.test_creating import CONFIRMED, PENDING, ROLES, desk_set
from tests.support.write_desk import NINE, WriteDesk, write_desk
from tests.unit.emulator.rig import rig, wire_event

pytestmark = pytest.mark.looptime

TURNS_MAX = 60
"""Turns of the event loop that a booking on the desk takes from the call to its answer, and a few more."""
GIVING_WAY_TURNS_MAX = 80


async def run_for(desk: WriteDesk, turns_count: int) -> bool:
    """Book the room and kill the process after so many turns of the loop; say whether it had answered."""
    call = asyncio.create_task(desk.create())
    for _ in range(turns_count):
        if call.done():
            break
        await asyncio.sleep(0)
    is_answered = call.done()
    call.cancel()
    await desk.die()
    await asyncio.wait([call])
    return is_answered


@pytest.mark.parametrize("turns_count", range(TURNS_MAX))
async def test_process_killed_at_any_moment_makes_one_event_and_the_same_request_gets_its_answer(
    tmp_path: Path, turns_count: int
) -> None:
    async with desk_set(tmp_path) as desk:
        is_answered = await run_for(desk, turns_count)
        assert is_answered or turns_count < TURNS_MAX - 1, "the last one was to end by itself"
        await desk.live_again()
        if turns_count % 2:
            await desk.resume()
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert len(await desk.rig.truth()) == 1
        assert (await desk.ended()).state is WriteState.DONE
        assert await desk.told() in ([PENDING, CONFIRMED], [CONFIRMED])
        assert await desk.mirror.opened.fetch("SELECT 1 FROM intents WHERE kind = 'booking.write'") == []


@pytest.mark.parametrize("turns_count", range(25, GIVING_WAY_TURNS_MAX, 2))
async def test_process_killed_while_it_gives_way_leaves_nothing_behind(tmp_path: Path, turns_count: int) -> None:
    """Somebody else's booking came in between; whoever goes on takes ours out."""
    async with desk_set(tmp_path) as desk:
        await slip_in(desk)
        is_answered = await run_for(desk, turns_count)
        assert is_answered or turns_count < GIVING_WAY_TURNS_MAX - 1, "the last one was to end by itself"
        await desk.live_again()
        await desk.resume()
        with pytest.raises(RoomConflict):
            await desk.create()
        assert [item["subject"] for item in await desk.rig.truth()] == ["Review"]
        assert all(state != Booking.STATE_CONFIRMED for _, state, _ in await desk.told())


async def slip_in(desk: WriteDesk) -> None:
    """Have another application book the room's calendar right before ours does, unseen by our look before."""

    async def book() -> None:
        body = wire_event("2026-11-24T09:30:00", "2026-11-24T10:30:00")
        answer = await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)
        assert answer.status_code == 201, answer.text

    desk.before("POST", book)


async def test_booking_that_came_between_the_look_and_ours_wins_and_watchers_see_ours_go(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:
        await slip_in(desk)
        with pytest.raises(RoomConflict) as caught:
            await desk.create()
        assert caught.value.details["start_time"] == "2026-11-24T09:30:00Z"
        assert await desk.told() == [PENDING, ("REMOVED", Booking.STATE_PENDING, Cause.WITHDRAWN)]
        assert len(await desk.rig.truth()) == 1


async def test_booking_that_came_after_ours_does_not_take_the_room_from_it(tmp_path: Path) -> None:
    """By the order of making, whoever looks."""
    async with desk_set(tmp_path) as desk:

        async def book() -> None:
            body = wire_event("2026-11-24T09:30:00", "2026-11-24T10:30:00")
            await desk.rig.graph.post(f"/users/{desk.rig.room}/events", json=body)

        desk.before("GET", book, skip=1)
        answer = await desk.create()
        assert answer.booking.state == Booking.STATE_CONFIRMED
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_sync_that_is_quicker_than_the_write_does_not_say_confirmed(tmp_path: Path) -> None:
    """What a read shows of a write that has not ended is pending."""
    async with desk_set(tmp_path) as desk:

        async def read() -> None:
            await desk.mirror.compare()

        desk.before("GET", read, skip=1)
        await desk.create()
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_sync_after_a_crash_between_exchange_and_commit_does_not_say_confirmed(tmp_path: Path) -> None:
    async with desk_set(tmp_path) as desk:

        async def die() -> None:
            raise asyncio.CancelledError

        desk.after("POST", die)
        call = asyncio.create_task(desk.create())
        await asyncio.wait([call], timeout=60)
        call.cancel()
        await desk.die()
        await desk.mirror.compare()
        assert await desk.told() == [PENDING]
        await desk.live_again()
        await desk.resume()
        assert await desk.told() == [PENDING, CONFIRMED]


async def test_read_that_was_under_way_does_not_bring_back_what_had_to_go(tmp_path: Path) -> None:
    """It saw the booking before it was taken out, and writes afterwards."""
    async with desk_set(tmp_path) as desk:
        room = await desk.mirror.reloaded()
        assert room.horizon is not None
        await slip_in(desk)
        seen = []

        async def look() -> None:
            seen.append(await desk.mirror.sync._reading.view(room, desk.mirror.tenant, room.horizon))  # type: ignore[arg-type]  # it was read

        desk.before("DELETE", look)
        with pytest.raises(RoomConflict):
            await desk.create()
        before = await desk.told()
        ((bookings, _),) = seen
        assert len(bookings) == 2
        found = Found(bookings=bookings, gone=frozenset(), series=frozenset(), broken=frozenset())
        await desk.mirror.sync._apply(room, (), found, room.horizon, lease=desk.mirror.lease, hints_through=0)
        assert [told for told in await desk.told() if told not in before] == [CONFIRMED]  # the other's
        assert len(await desk.mirror.copy()) == 1


async def test_deployment_that_died_holds_no_room_from_the_other_one(tmp_path: Path) -> None:
    """Its booking stands in the calendar, and is settled by whoever goes on; the other one was refused meanwhile."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with rig(roles=ROLES) as made, write_desk(made, folders[0]) as one, write_desk(made, folders[1]) as other:
        await run_for(one, 30)
        (theirs,) = await asyncio.gather(other.create(NINE, request_id="b"), return_exceptions=True)
        await one.live_again()
        (ours,) = await asyncio.gather(one.create(), return_exceptions=True)
        results = (theirs, ours)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert len(await made.truth()) == 1


@pytest.mark.parametrize("is_answered", [False, True])
@pytest.mark.parametrize(
    ("when", "method", "skip"), [("before", "GET", 0), ("before", "POST", 0), ("before", "GET", 1)]
)
async def test_person_and_program_who_meet_are_not_both_given_the_room(
    tmp_path: Path, when: str, method: str, skip: int, *, is_answered: bool
) -> None:
    """Whenever the invitation comes, and whether or not the room answers it at once: what we say is what is so."""
    async with desk_set(tmp_path) as desk:

        async def invite() -> None:
            await desk.rig.book("2026-11-24T09:30:00", "2026-11-24T10:30:00", time_zone="UTC")
            if is_answered:
                await desk.rig.rest()

        desk.mirror.moments.plan(when, method, invite, skip=skip)
        (result,) = await asyncio.gather(desk.create(), return_exceptions=True)
        await desk.rig.rest()
        await desk.mirror.compare()
        (stay,) = await desk.mirror.copy()
        is_ours = not isinstance(result, BaseException)
        assert is_ours or isinstance(result, RoomConflict)
        assert stay.start_at == (NINE if is_ours else NINE + timedelta(minutes=30))
        await desk.mirror.check_equal()


async def take_for_gone(desk: WriteDesk) -> None:
    """Have Exchange not show a booking for a moment right after it was made."""
    nothing = {"match": {"path": "/calendarView", "skip": 1}, "effect": {"status": 200, "body": '{"value": []}'}}
    await desk.rig.told("POST", "/control/faults", nothing)
    missing = {"match": {"method": "GET", "path": "/events/"}, "effect": {"status": 404, "code": "ErrorItemNotFound"}}
    await desk.rig.told("POST", "/control/faults", missing)
    with pytest.raises(BookingNotFound):
        await desk.create()
    assert await desk.mirror.copy() == []


async def test_booking_that_was_taken_for_gone_is_shown_by_the_next_full_read(tmp_path: Path) -> None:
    """Or that somebody has restored: only what was read before it was gone is held back."""
    async with desk_set(tmp_path) as desk:
        await take_for_gone(desk)
        await desk.mirror.advance(10)
        await desk.mirror.compare()
        await desk.mirror.check_equal()
        assert len(await desk.mirror.copy()) == 1


async def test_booking_that_was_taken_for_gone_and_is_announced_is_looked_for_in_a_while(tmp_path: Path) -> None:
    """The read that its announcement leads to may be older than its end, and shows nothing."""
    async with desk_set(tmp_path) as desk:
        await take_for_gone(desk)
        (event,) = await desk.rig.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        sync, room = desk.mirror.sync, await desk.mirror.reloaded()
        assert room.horizon is not None
        found = await sync._reading.events(room, desk.mirror.tenant, (event["id"],), room.horizon)
        await sync._apply(room, (event["id"],), found, room.horizon, lease=desk.mirror.lease, hints_through=0)
        assert await desk.mirror.copy() == []
        planned = await desk.mirror.opened.store.intents.about(room.uid)
        due_at = min(work.ready_at for work in planned if work.kind is IntentKind.ROOM_COMPARE)
        assert due_at <= desk.rig.clock.now() + timedelta(minutes=10)
        await desk.mirror.advance(601)
        await desk.mirror.compare()
        assert len(await desk.mirror.copy()) == 1
