"""An operator suspends the tenant, or deletes it and brings it back; meanwhile nothing may be asked of Microsoft."""

from __future__ import annotations

import asyncio

from sidecar.gen.ioffice.exchange.v1 import room_service_pb2
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from tests.simulation.plan import Rest
from tests.simulation.world import World

_UNDER_WAY_S = 5.0
"""What was under way at Microsoft when the rest began is answered by then."""


class Rests:
    """Brings about the rests of a plan."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def work(self) -> None:
        """Let each rest come at its time, or when the one before is over."""
        began_s = asyncio.get_running_loop().time()
        for rest in self._world.plan.rests:
            await asyncio.sleep(max(0.0, began_s + rest.at_s - asyncio.get_running_loop().time()))
            self._world.trace.note("operator", "deletes" if rest.is_deletion else "suspends")
            await self._begin(rest)
            await self._wait(rest)
            await self._end(rest)
            self._world.trace.note("operator", "brings back" if rest.is_deletion else "resumes")

    async def _begin(self, rest: Rest) -> None:
        world, name = self._world, self._world.tenant
        if rest.is_deletion:
            await world.call(lambda life: life.servicers.tenants.delete_tenant(pb.DeleteTenantRequest(name=name)))
        else:
            request = pb.SuspendTenantRequest(name=name, reason="CANARY-why")
            await world.call(lambda life: life.servicers.tenants.suspend_tenant(request))

    async def _wait(self, rest: Rest) -> None:
        """Let the rest pass; whatever else happens, Microsoft is asked nothing in it."""
        if rest.lasts_s <= _UNDER_WAY_S:
            await asyncio.sleep(rest.lasts_s)
            return
        await asyncio.sleep(_UNDER_WAY_S)
        before = await self._asked()
        await asyncio.sleep(rest.lasts_s - _UNDER_WAY_S)
        asked = [one for one in await self._asked() if one not in before]
        assert asked == [], f"a tenant at rest asked {asked[:3]}"
        if not rest.is_deletion:
            await self._check_paused()

    async def _asked(self) -> set[int]:
        return {int(one["number"]) for one in await self._world.directory.requests()}

    async def _check_paused(self) -> None:
        request = room_service_pb2.ListRoomsRequest(parent=self._world.tenant)
        answer = await self._world.call(lambda life: life.servicers.rooms.list_rooms(request))
        states = {room.state for room in answer.rooms}
        assert states == {room_service_pb2.Room.STATE_PAUSED}, f"rooms of a suspended tenant are in {states}"

    async def _end(self, rest: Rest) -> None:
        world, name = self._world, self._world.tenant
        if rest.is_deletion:
            await world.call(lambda life: life.servicers.tenants.undelete_tenant(pb.UndeleteTenantRequest(name=name)))
        else:
            await world.call(lambda life: life.servicers.tenants.resume_tenant(pb.ResumeTenantRequest(name=name)))
