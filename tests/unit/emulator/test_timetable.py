"""The timetable by which rooms act and notifications leave."""

import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.exchange.timetable import Timetable
from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime


async def test_things_are_handed_over_by_moment_and_then_in_the_order_they_came() -> None:
    async with rig() as r:
        seen, world = list[tuple[str, float]](), r.emulator.world
        started_at = world.now()
        table = Timetable[str](
            world=world, name="test", act=lambda one: seen.append((one, (world.now() - started_at).total_seconds()))
        )
        for seconds, thing in ((9, "last"), (5, "first"), (7, "second"), (7, "third")):
            table.add(world.after(seconds), thing)
        await sleep(r.clock, 10)
        assert seen == [("first", 5), ("second", 7), ("third", 7), ("last", 9)]


async def test_thing_whose_moment_has_passed_is_handed_over_soon_but_not_at_once() -> None:
    async with rig() as r:
        seen, world = list[str](), r.emulator.world
        table = Timetable[str](world=world, name="test", act=seen.append)
        table.add(world.after(-5), "late")
        assert seen == []
        await sleep(r.clock, 0.01)
        assert seen == ["late"]


async def test_thing_handed_over_may_add_others() -> None:
    async with rig() as r:
        seen, world = list[int](), r.emulator.world

        def act(number: int) -> None:
            seen.append(number)
            if number < 3:
                table.add(world.after(number), number + 1)

        table = Timetable[int](world=world, name="test", act=act)
        table.add(world.after(1), 0)
        await sleep(r.clock, 1.5)
        assert seen == [0, 1]
        await sleep(r.clock, 3)
        assert seen == [0, 1, 2, 3]


async def test_cleared_timetable_hands_over_only_what_is_added_anew() -> None:
    async with rig() as r:
        seen, world = list[str](), r.emulator.world
        table = Timetable[str](world=world, name="test", act=seen.append)
        table.add(world.after(1), "forgotten")
        table.clear()
        table.add(world.after(2), "anew")
        await sleep(r.clock, 3)
        assert seen == ["anew"]
