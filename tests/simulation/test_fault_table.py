"""Each fault of the table, on virtual time: known in minutes with its cause, never hidden meanwhile, and healed by itself.

A room *claims to be well* while its state is UP, or its copy LIVE or POLLING. Five minutes after a fault began its state is
not UP and says why, and that stays so until the fault is over. Of a copy that Exchange has become unable to renew nobody is
warned before it is older than was promised (`sync.freshness_budget_s`): then, five minutes after the first call that failed,
it is STALE. A mailbox that Exchange refuses by itself is known as soon as it is asked for: within seconds when something
happens in it, else at its next check, which comes within a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sidecar.model.ids import TenantId
from sidecar.model.problem import Problem
from sidecar.model.room import Room, RoomState, SyncState, freshness_limits, sync_state
from sidecar.model.tenant import Tenant, TenantState
from tests.simulation.checks import check_copy, check_states, check_subscriptions
from tests.simulation.fault_table import FAULTS, Fault
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import TENANT, World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_KNOWN_S = 300.0
_BUDGET_S = 300.0
_CHECKED_S = 990.0 + 10.0
_LASTS_S = 1_500.0
_LOOK_S = 10.0
_ROOMS = 3


def _in_world(play: Callable[[World], Awaitable[None]], *, rooms: int = _ROOMS) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="faults") as folder:
            async with world_made(calm_plan(1, rooms=rooms), Path(folder), Trace(None)) as world:
                await play(world)

    run_virtually(main)


async def _tenant(world: World) -> Tenant:
    assert world.life is not None, "it began"
    return await world.life.service.store.tenants.load(TenantId(TENANT))


def _copy(world: World, room: Room) -> SyncState:
    return sync_state(room, now=world.clock.now(), limits=freshness_limits(world.plan.settings.sync))


async def _rooms(world: World, fault: Fault) -> tuple[list[Room], list[Room]]:
    """Return the rooms that are hit, and the others."""
    rooms = sorted(await world.stored_rooms(), key=lambda room: room.room_id)
    return (rooms, []) if fault.is_tenants else (rooms[:1], rooms[1:])


async def _told(world: World, fault: Fault) -> list[str]:
    """Return what is not told as the row wants it."""
    tenant = await _tenant(world)
    hit, others = await _rooms(world, fault)
    wrong = [f"tenant {tenant.state}, not {fault.tenant}"] if tenant.state is not fault.tenant else []
    for room in hit:
        states = (room.state, _copy(world, room))
        if states != (fault.room, states[1] if fault.copy is None else fault.copy):
            wrong.append(f"{room.name} {states}")
        wrong += _wrong_words(fault.told_at(tenant, room), fault)
    wrong += [f"{room.name} hit, too: {room.state}" for room in others if room.state is not RoomState.UP]
    return wrong


def _wrong_words(problem: Problem | None, fault: Fault) -> list[str]:
    if problem is None:
        return ["no problem is told"]
    said = (problem.reason, problem.actor)
    is_right = said == (fault.reason, fault.actor) and problem.message.startswith(fault.says) and problem.action
    return [] if is_right else [f"{said} {problem.message!r}"]


async def _known(world: World, fault: Fault, *, within_s: float) -> None:
    """Return once everything is told as the row wants it."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while wrong := await _told(world, fault):
        assert loop.time() - began_s <= within_s, f"after {within_s:g} s: {wrong}"
        await asyncio.sleep(_LOOK_S)


async def _stays(world: World, fault: Fault, *, for_s: float) -> None:
    """Look again and again whether what is told stays told."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < for_s:
        wrong = await _told(world, fault)
        assert not wrong, f"{loop.time() - began_s:g} s after it was told: {wrong}"
        await asyncio.sleep(_LOOK_S)


async def _healed(world: World, fault: Fault) -> None:
    """Return once nothing is told any more, and every change is in the copy."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while True:
        rooms = await world.stored_rooms()
        try:
            assert (await _tenant(world)).state is TenantState.ACTIVE
            check_states(world, rooms)
            for room in rooms:
                await check_copy(world, room)
            await check_subscriptions(world)
        except AssertionError:
            if loop.time() - began_s > fault.heals_s:
                raise
            await asyncio.sleep(_LOOK_S)
        else:
            return


async def _book(world: World, fault: Fault) -> None:
    """Let something happen in the rooms."""
    if not fault.is_silent:
        for mailbox in sorted(world.rooms.values()):
            await world.knock(mailbox)


def _within_s(fault: Fault) -> float:
    return _KNOWN_S + (_BUDGET_S if fault.copy is SyncState.STALE else 0.0)


AT_WORK = [fault for fault in FAULTS if fault.is_told_at_work]


@pytest.mark.parametrize("fault", AT_WORK, ids=str)
def test_fault_of_a_working_tenant_is_told_in_five_minutes_and_heals_without_loss(fault: Fault) -> None:
    """Something happens in the rooms meanwhile; that is read when it can be."""

    async def play(world: World) -> None:
        await world.begin_life()
        await world.register()
        await asyncio.sleep(1_000.0)
        check_states(world, await world.stored_rooms())
        await fault.begin(world)
        await _book(world, fault)
        await _known(world, fault, within_s=_CHECKED_S if fault.is_silent else _within_s(fault))
        await _stays(world, fault, for_s=_LASTS_S)
        await fault.end(world)
        await _healed(world, fault)

    _in_world(play)


@pytest.mark.parametrize("fault", [fault for fault in AT_WORK if fault.is_tenants], ids=str)
def test_fault_of_a_quiet_tenant_is_told_in_five_minutes(fault: Fault) -> None:
    """Nothing happens in the one room, which is asked for once in six hours."""

    async def play(world: World) -> None:
        await world.begin_life()
        await world.register()
        await asyncio.sleep(1_000.0)
        await fault.begin(world)
        await _known(world, fault, within_s=_within_s(fault))

    _in_world(play, rooms=1)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_that_is_there_from_the_beginning_is_told_in_five_minutes_and_heals(fault: Fault) -> None:
    """The tenant is registered and its rooms are mapped while it lasts."""
    told = fault.from_beginning()

    async def play(world: World) -> None:
        await world.begin_life()
        await fault.begin(world)
        await world.register()
        await _known(world, told, within_s=_KNOWN_S)
        await _stays(world, told, for_s=_LASTS_S)
        await fault.end(world)
        await _healed(world, told)

    _in_world(play)
