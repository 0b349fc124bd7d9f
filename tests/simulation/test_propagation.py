"""Grants that take hours to be known, on virtual time: waited for, counted, asked for without a storm, and never forgotten."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2
from sidecar.model.room import RoomState
from tests.simulation.checks import check_copy, check_states
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_HOUR_S = 3_600.0
_PENDING, _DENIED, _UP = RoomState.PENDING_PROPAGATION, RoomState.DENIED, RoomState.UP


def _in_world(rooms: int, play: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="propagation") as folder:
            async with world_made(calm_plan(1, rooms=rooms), Path(folder), Trace(None)) as world:
                await play(world)

    run_virtually(main)


async def _allow(world: World, count: int | None, *, after_s: float = 0.0) -> None:
    """Let a policy allow the first rooms (None: all), known after some time."""
    members = world.directory.rooms if count is None else world.directory.rooms[:count]
    await world.directory.call("PATCH", "app", {"access_policy": members, "propagation_s": after_s})


async def _states(world: World) -> Counter[RoomState]:
    return Counter(room.state for room in await world.stored_rooms())


async def _told(world: World) -> tenant_service_pb2.Tenant:
    request = tenant_service_pb2.GetTenantRequest(name=world.tenant)
    answer = await world.call(lambda life: life.servicers.tenants.get_tenant(request))
    tenant = answer.tenant
    assert isinstance(tenant, tenant_service_pb2.Tenant)
    return tenant


async def _begin(world: World, allowed: int) -> None:
    await _allow(world, allowed)
    await world.begin_life()
    await world.register()
    await asyncio.sleep(300.0)


async def _asked(world: World, *, for_s: float) -> int:
    """Return how many requests Microsoft got in some time."""
    before_count = world.trace.counts["graph"]
    await asyncio.sleep(for_s)
    return world.trace.counts["graph"] - before_count


def test_rooms_that_a_grant_has_not_reached_are_waited_for_and_counted() -> None:
    """Exchange tells that it refuses; since when there is hope, and for how many rooms, only we know."""

    async def play(world: World) -> None:
        await _begin(world, 2)
        assert await _states(world) == {_UP: 2, _PENDING: 4}
        shown = (await _told(world)).propagation
        assert (shown.readable_rooms_count, shown.rooms_count) == (2, 6)
        now_s = world.clock.now().timestamp()
        assert now_s - 310.0 <= shown.start_time.seconds <= now_s - 290.0
        assert now_s < shown.next_look_time.seconds <= now_s + 600.0
        assert shown.end_time.seconds - shown.start_time.seconds == 48 * _HOUR_S

    _in_world(6, play)


def test_grant_that_arrives_brings_all_rooms_up_within_a_quarter_of_an_hour() -> None:
    """One of them is asked, and then all, so that nobody waits an hour because a small sample was unlucky."""

    async def play(world: World) -> None:
        await _begin(world, 1)
        await _allow(world, None, after_s=2 * _HOUR_S)
        await asyncio.sleep(2 * _HOUR_S - 1.0)
        assert await _states(world) == {_UP: 1, _PENDING: 59}
        await asyncio.sleep(16 * 60.0)
        rooms = await world.stored_rooms()
        check_states(world, rooms)
        for room in rooms:
            await check_copy(world, room)
        await asyncio.sleep(60.0)
        assert not (await _told(world)).HasField("propagation")

    _in_world(60, play)


def test_many_waiting_rooms_cost_few_requests() -> None:
    """A look asks twenty of them, and each by itself asks once an hour."""

    async def play(world: World) -> None:
        await _begin(world, 0)
        assert await _states(world) == {_PENDING: 200}
        assert await _asked(world, for_s=_HOUR_S) <= 200 * 1.15 + 4 * 20 * 1.1 + 30

    _in_world(200, play)


def test_wait_of_two_days_ends_with_denied_rooms_that_still_heal_by_themselves() -> None:
    """Whoever mends it after a week need not tell anybody; the first room that can be read has all of them asked."""

    async def play(world: World) -> None:
        await _begin(world, 1)
        await asyncio.sleep(47 * _HOUR_S)
        assert await _states(world) == {_UP: 1, _PENDING: 3}
        await asyncio.sleep(1.1 * _HOUR_S)
        assert await _states(world) == {_UP: 1, _DENIED: 3}
        assert not (await _told(world)).HasField("propagation")
        await asyncio.sleep(24 * _HOUR_S)
        await _allow(world, None)
        await asyncio.sleep(1.2 * _HOUR_S)
        check_states(world, await world.stored_rooms())

    _in_world(4, play)


def test_first_room_that_can_be_read_is_the_sign_of_a_grant() -> None:
    """The others are waited for again, though the tenant was registered days ago."""

    async def play(world: World) -> None:
        await _begin(world, 0)
        await asyncio.sleep(50 * _HOUR_S)
        assert await _states(world) == {_DENIED: 5}
        await _allow(world, 2)
        await asyncio.sleep(1.2 * _HOUR_S)
        assert await _states(world) == {_UP: 2, _PENDING: 3}
        shown = (await _told(world)).propagation
        assert (shown.readable_rooms_count, shown.rooms_count) == (2, 5)

    _in_world(5, play)


def test_room_that_is_mapped_later_waits_on_its_own_account() -> None:
    """Somebody has added it to the policy just now, perhaps."""

    async def play(world: World) -> None:
        await _begin(world, 2)
        await asyncio.sleep(50 * _HOUR_S)
        (address,) = await world.directory.add_rooms(1)
        await world.map_room("late", address)
        await asyncio.sleep(60.0)
        assert await _states(world) == {_UP: 2, _PENDING: 1}
        await _allow(world, None)
        await asyncio.sleep(5 * 60.0)
        assert await _states(world) == {_UP: 3}

    _in_world(2, play)


def test_wait_goes_on_after_a_restart() -> None:
    """What is waited for, since when and until when is in the database."""

    async def play(world: World) -> None:
        await _begin(world, 1)
        before = (await _told(world)).propagation
        world.start(world.keep_alive())
        world.crash()
        await asyncio.sleep(10.0)
        after = (await _told(world)).propagation
        assert (after.start_time, after.readable_rooms_count) == (before.start_time, 1)
        await _allow(world, None)
        await asyncio.sleep(16 * 60.0)
        assert await _states(world) == {_UP: 3}

    _in_world(3, play)


def test_denial_of_a_room_that_was_read_since_is_not_waited_for() -> None:
    """It was taken out of the policy."""

    async def play(world: World) -> None:
        await _begin(world, 3)
        members: Any = world.directory.rooms[1:]
        await world.directory.call("PATCH", "app", {"access_policy": members})
        await world.knock(world.directory.rooms[0])
        await asyncio.sleep(60.0)
        assert await _states(world) == {_UP: 2, _DENIED: 1}

    _in_world(3, play)


def test_verification_that_somebody_asks_for_counts_as_a_grant() -> None:
    """Whoever asks has just mended something; the rooms are looked after again, soon and often."""

    async def play(world: World) -> None:
        await _begin(world, 1)
        await asyncio.sleep(50 * _HOUR_S)
        assert await _states(world) == {_UP: 1, _DENIED: 2}
        await _allow(world, None, after_s=1_000.0)
        request = tenant_service_pb2.VerifyTenantRequest(name=world.tenant)
        await world.call(lambda life: life.servicers.tenants.verify_tenant(request))
        await asyncio.sleep(60.0)
        assert await _states(world) == {_UP: 1, _PENDING: 2}
        await asyncio.sleep(1_000.0 + 16 * 60.0)
        check_states(world, await world.stored_rooms())

    _in_world(3, play)
