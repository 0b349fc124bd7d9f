"""Outages of Microsoft, on virtual time: known soon, cheap while they last, and over by themselves."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sidecar.model.ids import TenantId
from sidecar.model.tenant import Tenant, TenantState
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import TENANT, World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_KNOWN_S = 300.0
_OUTAGE_S = 1_800.0


def _in_world(rooms: int, play: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="outage") as folder:
            async with world_made(calm_plan(1, rooms=rooms), Path(folder), Trace(None)) as world:
                await world.begin_life()
                await world.register()
                await asyncio.sleep(1_000.0)
                await play(world)

    run_virtually(main)


async def _tenant(world: World) -> Tenant:
    assert world.life is not None, "it began"
    return await world.life.service.store.tenants.load(TenantId(TENANT))


async def _begin_outage(world: World, status: int | None, for_s: float = _OUTAGE_S) -> None:
    await world.directory.call("POST", "/control/outage", {"status": status, "for_s": for_s})


async def _until(world: World, state: TenantState, *, at_most_s: float) -> float:
    """Wait until the tenant is in a state, and return how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while (await _tenant(world)).state is not state:
        assert loop.time() - began_s <= at_most_s, f"not {state} after {at_most_s:g} s"
        await asyncio.sleep(1.0)
    return loop.time() - began_s


@pytest.mark.parametrize("status", [503, 500, None])
@pytest.mark.parametrize("rooms", [1, 3])
def test_outage_of_a_quiet_tenant_is_known_within_five_minutes(rooms: int, status: int | None) -> None:
    """Its rooms are read every six hours here, and nothing happens in them."""

    async def play(world: World) -> None:
        await _begin_outage(world, status)
        await _until(world, TenantState.DEGRADED, at_most_s=_KNOWN_S)

    _in_world(rooms, play)


def test_outage_costs_a_request_a_minute_however_many_changes_come() -> None:
    """Changes go on to be announced; nobody asks for them while nothing is answered."""

    async def play(world: World) -> None:
        await _begin_outage(world, 503)
        await _until(world, TenantState.DEGRADED, at_most_s=_KNOWN_S)
        await asyncio.sleep(300.0)
        before_count = world.trace.counts["graph"]
        for _ in range(10):
            for mailbox in sorted(world.rooms.values()):
                await world.knock(mailbox)
            await asyncio.sleep(60.0)
        assert world.trace.counts["graph"] - before_count <= 12

    _in_world(5, play)


def test_outage_that_is_over_leaves_nothing_behind() -> None:
    """What was announced meanwhile is read within minutes of its end, without anybody's help."""

    async def play(world: World) -> None:
        await _begin_outage(world, 503)
        await _until(world, TenantState.DEGRADED, at_most_s=_KNOWN_S)
        for mailbox in sorted(world.rooms.values()):
            await world.knock(mailbox)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(_OUTAGE_S - _KNOWN_S)
        await _until(world, TenantState.ACTIVE, at_most_s=_KNOWN_S + 130.0)
        await asyncio.sleep(60.0)
        assert asyncio.get_running_loop().time() - began_s < _OUTAGE_S + 200.0
        assert world.fetch("SELECT COUNT(*) FROM bookings")[0][0] == len(world.rooms)
        assert world.fetch("SELECT COUNT(*) FROM intents WHERE attempts > 0")[0][0] == 0

    _in_world(5, play)
