"""Access that is granted and not known everywhere yet, against real processes: what callers and people at a terminal see."""

from __future__ import annotations

import asyncio

import pytest
from exchange_client import ExchangeClient
from exchange_client.messages import Room, SyncState, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually, run_cli
from tests.support.scene import Scene, directory_made

pytestmark = pytest.mark.e2e


async def test_rooms_that_wait_for_a_grant_are_counted_and_come_up_by_themselves(
    service: Service, emulator: RunningEmulator
) -> None:
    """The third room is not in the policy yet."""
    async with (
        directory_made(emulator, rooms=3) as directory,
        ExchangeClient.connect(service.target) as client,
    ):
        await directory.call("PATCH", "app", {"access_policy": directory.rooms[:2]})
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await scene.register()
        await scene.map_all()

        async def waiting() -> Tenant:
            room = await client.get_room(scene.room(2))
            assert room.state == Room.STATE_PENDING_PROPAGATION, Room.State.Name(room.state)
            assert room.sync.state == SyncState.SYNC_STATE_BLOCKED
            assert [problem.reason for problem in room.sync.problems if problem.reason == "ACCESS_PENDING"]
            tenant = await client.get_tenant(scene.tenant)
            assert tenant.propagation.readable_rooms_count == 2
            return tenant

        tenant = await eventually(waiting, "two of three rooms can be read", service=service)
        assert (tenant.state, tenant.propagation.rooms_count) == (Tenant.STATE_ACTIVE, 3)
        shown = await asyncio.to_thread(
            run_cli, "tenant", "get", scene.tenant_id, env={"EXCHANGE_TARGET": service.target}
        )
        assert "access was granted: 2 of 3 rooms, 0 min ago, next look in 1 min" in shown.stdout

        await directory.call("PATCH", "app", {"access_policy": None})
        await scene.settled_rooms(deadline_s=90.0)
        # A look after the last room has nothing to wait for any more.

        async def over() -> bool:
            return not (await client.get_tenant(scene.tenant)).HasField("propagation")

        await eventually(over, "nothing is waited for", service=service)
