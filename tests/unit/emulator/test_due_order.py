"""What is due happens in the order in which it is due, and at one moment in the order in which it was planned."""

import asyncio
from datetime import timedelta

import pytest

from sidecar.emulator.clock import LoopClock, sleep
from tests.unit.emulator.rig import START, rig

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")


async def test_sleepers_of_one_moment_wake_in_the_order_they_lay_down() -> None:
    clock, woken = LoopClock(start_at=START), list[int]()

    async def wait(number: int) -> None:
        await sleep(clock, 10)
        woken.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(wait(number))
    assert woken == list(range(20))


async def test_moved_present_wakes_sleepers_in_the_order_of_their_moments() -> None:
    clock, woken = LoopClock(start_at=START), list[int]()

    async def wait(seconds: int) -> None:
        await sleep(clock, seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (50, 10, 40, 30, 20, 60):
            group.create_task(wait(seconds))
        await sleep(clock, 1)
        clock.advance(1000)
    assert woken == [10, 20, 30, 40, 50, 60]


async def test_first_booking_of_a_room_wins_however_many_there_are() -> None:
    async with rig() as r:
        booked = [await r.book(*TEN, subject=f"{number}") for number in range(8)]
        await r.rest()
        held = [one["events"][r.room] for one in booked]
        assert [item["id"] for item in await r.truth()] == held[:1]


async def test_room_answers_what_was_due_first_when_the_clock_jumps() -> None:
    async with rig() as r:
        booked = []
        for delay_s in (50.0, 10.0, 30.0):
            await r.told("PUT", "/control/moods", {"room_delay_min_s": delay_s, "room_delay_max_s": delay_s})
            booked.append(await r.book(*TEN))
        await r.told("POST", "/control/clock", {"advance_s": 3600})
        await r.rest()
        assert [item["id"] for item in await r.truth()] == [booked[1]["events"][r.room]]


async def test_cancelled_sleeper_holds_up_nobody() -> None:
    clock, woken = LoopClock(start_at=START), list[int]()

    async def wait(seconds: int) -> None:
        await sleep(clock, seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(wait(5))
        group.create_task(wait(10))
        await sleep(clock, 1)
        first.cancel()
    assert (woken, clock.now()) == ([10], START + timedelta(seconds=10))
