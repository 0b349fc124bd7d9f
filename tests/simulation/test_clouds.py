"""Tenants of each of Microsoft's clouds in one service, on virtual time: all of them work, and none meets another's hosts."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from exchange_client import names

from sidecar.emulator.fixture.tenant import EmulatedTenant
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2, tenant_service_pb2
from sidecar.model.ids import TenantId
from sidecar.model.room import RoomState, SyncState, freshness_limits, sync_state
from sidecar.model.tenant import TenantState
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_HOSTS = {
    "global": ("login.microsoftonline.com", "graph.microsoft.com"),
    "usGov": ("login.microsoftonline.us", "graph.microsoft.us"),
    "usGovDod": ("login.microsoftonline.us", "dod-graph.microsoft.us"),
    "china": ("login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn"),
}
_CLOUDS = {
    "global": tenant_service_pb2.CLOUD_GLOBAL,
    "usGov": tenant_service_pb2.CLOUD_US_GOVERNMENT,
    "usGovDod": tenant_service_pb2.CLOUD_US_GOVERNMENT_DOD,
    "china": tenant_service_pb2.CLOUD_CHINA,
}


class _Listener:
    """Notes which hosts were asked for whom, by the directory in the path or in the token."""

    def __init__(self, app: Any) -> None:  # Any: an ASGI app
        self._app = app
        self.asked: dict[str, set[str]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI's own shapes
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        host, token = headers["host"], headers.get("authorization", "").removeprefix("Bearer ")
        directory = scope["path"].split("/")[1]
        if token:
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            assert claims["aud"] == f"https://{host}", "a token for another host"
            directory = claims["tid"]
        self.asked.setdefault(directory, set()).add(host)
        await self._app(scope, receive, send)


async def _register(world: World, cloud: str, *, lives_in: str) -> EmulatedTenant:
    """Make a directory in a cloud, and register it with its room as one of `cloud`."""
    made = await world.directory.call("POST", "/control/tenants", {"domain": f"{cloud.lower()}.example"})
    directory = EmulatedTenant(world.directory._http, made)
    await directory.call("PATCH", "app", {"sign_in": {"cloud": lives_in}})
    await directory.add_people(1)
    (room,) = await directory.add_rooms(1)
    register = tenant_service_pb2.RegisterTenantRequest(
        tenant_id=cloud,
        tenant=tenant_service_pb2.Tenant(directory_id=directory.id, cloud=_CLOUDS[cloud]),
        credential=tenant_service_pb2.Credential(
            application_id=directory.application_id, client_secret=directory.secret
        ),
    )
    await world.call(lambda life: life.servicers.tenants.register_tenant(register))
    mapping = room_service_pb2.MapRoomRequest(
        parent=names.tenant(cloud), room_id="r1", room=room_service_pb2.Room(mailbox=room)
    )
    await world.call(lambda life: life.servicers.rooms.map_room(mapping))
    return directory


def _in_world(play: Any) -> None:  # Any: a coroutine function of a world and a listener
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="clouds") as folder:
            async with world_made(calm_plan(1), Path(folder), Trace(None)) as world:
                listener = _Listener(world.emulator.graph_app)
                world.emulator.graph_app = listener  # type: ignore[assignment]  # it is an ASGI app as well
                await world.begin_life()
                await play(world, listener)

    run_virtually(main)


def test_tenants_of_all_clouds_live_side_by_side_and_no_token_leaves_its_own() -> None:
    """Reading, checking and announcing work alike; each request goes to the hosts of the tenant's cloud."""

    async def play(world: World, listener: _Listener) -> None:
        directories = {cloud: await _register(world, cloud, lives_in=cloud) for cloud in _CLOUDS}
        await asyncio.sleep(1_000.0)
        for cloud, directory in directories.items():
            await directory.book(directory.rooms[0], world.now().replace(hour=12))
            assert listener.asked[directory.id] == set(_HOSTS[cloud])
        await asyncio.sleep(60.0)
        assert world.life is not None
        store = world.life.service.store
        for cloud in directories:
            tenant = await store.tenants.load(TenantId(cloud))
            _, (room,) = await store.rooms.load_all(tenant.uid)
            limits = freshness_limits(world.plan.settings.sync)
            states = (tenant.state, room.state, sync_state(room, now=world.clock.now(), limits=limits))
            assert states == (TenantState.ACTIVE, RoomState.UP, SyncState.LIVE)
            assert await store.calendars.count(room.uid) == 1, "its announcement was heard"

    _in_world(play)


@pytest.mark.parametrize(
    ("registered", "lives_in", "reason"),
    [
        ("global", "usGov", "CLOUD_MISMATCH"),
        ("global", "china", "CLOUD_MISMATCH"),
        ("usGov", "usGovDod", "CLOUD_MISMATCH"),
        ("usGov", "global", "DIRECTORY_NOT_FOUND"),
        ("china", "global", "DIRECTORY_NOT_FOUND"),
    ],
)
def test_tenant_of_another_cloud_is_told_so(registered: str, lives_in: str, reason: str) -> None:
    """A national cloud knows nothing of others; the global one knows who lives elsewhere."""

    async def play(world: World, listener: _Listener) -> None:
        directory = await _register(world, registered, lives_in=lives_in)
        await asyncio.sleep(300.0)
        assert world.life is not None
        tenant = await world.life.service.store.tenants.load(TenantId(registered))
        assert (tenant.state, tenant.problem and tenant.problem.reason) == (TenantState.CREDENTIAL_REJECTED, reason)
        assert listener.asked[directory.id] == {_HOSTS[registered][0]}

    _in_world(play)
