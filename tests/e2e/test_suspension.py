"""Tenants that are suspended and deleted for a while: no traffic meanwhile, and nothing missed afterwards."""

from __future__ import annotations

import asyncio

import pytest
from exchange_client import AlreadyExists, ExchangeClient, NotFound
from exchange_client.messages import Room, StreamClosing, SyncState, Tenant, WatchTenantResponse

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support import postgres
from tests.support.cluster import cluster_made
from tests.support.processes import Service, eventually, service_started
from tests.support.scene import Scene, directory_made, prove_copy, scene_set, tomorrow
from tests.support.stores import ENGINES

pytestmark = pytest.mark.e2e

_QUIET_S = 3.0
"""Longer than a hinted read, a probe and the lanes' sweep of these tests take."""


async def asked_nothing_for_a_while(scene: Scene) -> None:
    """See that Microsoft is asked nothing, while notifications of changes arrive."""
    last = [int(one["number"]) for one in await scene.directory.requests()][-1]
    await asyncio.sleep(_QUIET_S)
    asked = [f"{one['method']} {one['path']}" for one in await scene.directory.requests(after=last)]
    assert asked == []


@pytest.mark.parametrize("kind", ENGINES)
async def test_suspended_tenant_asks_nothing_and_misses_nothing(
    kind: str, tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with (
        store_of(kind) as store,
        service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **store) as service,
    ):
        async with scene_set(service, emulator, rooms=3) as scene, scene.watching() as watcher:
            kept = await scene.directory.book(scene.mailbox(0), tomorrow(8))
            await scene.converged(watcher)
            told = await scene.client.suspend_tenant(scene.tenant, reason="unpaid")
            assert told.state == Tenant.STATE_SUSPENDED
            assert told.problems[0].metadata["reason"] == "unpaid"

            async def paused() -> bool:
                rooms = [room async for room in scene.client.list_rooms(scene.tenant)]
                return {(room.state, room.sync.state) for room in rooms} == {
                    (Room.STATE_PAUSED, SyncState.SYNC_STATE_PAUSED)
                }

            assert await paused()
            await eventually(
                lambda: (
                    {
                        message.room_changed.state
                        for message in watcher.messages[-3:]
                        if hasattr(message, "room_changed")
                    }
                    >= {Room.STATE_PAUSED}
                ),
                "the watcher is told",
                service=service,
            )
            await asyncio.sleep(0.5)  # what was on its way to Microsoft has arrived
            await scene.directory.book(scene.mailbox(1), tomorrow(9))
            await scene.directory.act("cancel", meeting=kept["meeting"])
            await asked_nothing_for_a_while(scene)
            assert not watcher.is_over
            listing = await scene.client.list_bookings(scene.room(0), tomorrow(0), tomorrow(23))
            assert len(listing.bookings) == 1
            assert listing.sync.state == SyncState.SYNC_STATE_PAUSED
            assert listing.sync.HasField("fresh_as_of_time")
            await asyncio.to_thread(service.stop)
            await asyncio.to_thread(service.start)
            assert await paused()
            await asked_nothing_for_a_while(scene)
            resumed = await scene.client.resume_tenant(scene.tenant)
            assert not resumed.problems
            await scene.settled_rooms()
            await scene.converged(watcher)
            assert await scene.directory.subscribed() == sorted(scene.rooms.values())
            await prove_copy(scene)


async def test_suspension_reaches_every_process_of_a_shared_database(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK) as cluster:
            api, ingress, worker = (cluster.add(role) for role in ("api", "ingress", "worker"))
            await cluster.start(api, ingress, worker)
            async with scene_set(api, emulator, rooms=2) as scene, scene.watching() as watcher:
                await scene.converged(watcher)
                await scene.client.suspend_tenant(scene.tenant)
                await asyncio.sleep(0.5)
                await scene.directory.book(scene.mailbox(), tomorrow())
                await asked_nothing_for_a_while(scene)
                await scene.client.resume_tenant(scene.tenant)
                await scene.settled_rooms()
                await scene.converged(watcher)
                assert len(watcher.mirror.bookings(scene.room())) == 1


async def test_tenant_suspended_while_its_rooms_are_imported_goes_on_where_it_was(
    own_service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=30) as directory, ExchangeClient.connect(own_service.target) as client:
        scene = Scene(own_service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await scene.register()
        await scene.state(Tenant.STATE_ACTIVE)
        await directory.book(directory.rooms[7], tomorrow())
        await scene.map_all()
        await eventually(directory.subscribed, "the first subscription is made", service=own_service)
        await client.suspend_tenant(scene.tenant)
        await asyncio.sleep(0.5)
        await asked_nothing_for_a_while(scene)
        await client.resume_tenant(scene.tenant)
        await scene.settled_rooms()
        async with scene.watching() as watcher:
            await scene.converged(watcher)
        assert await directory.subscribed() == sorted(scene.rooms.values())


async def test_deleted_tenant_is_back_as_it_was_until_it_is_purged(
    own_service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(own_service, emulator, rooms=2) as scene:
        async with scene.watching() as watcher:
            await scene.directory.book(scene.mailbox(0), tomorrow(8))
            await scene.converged(watcher)
            gone = await scene.client.delete_tenant(scene.tenant)
            assert gone is not None
            assert gone.state == Tenant.STATE_DELETED
            assert gone.HasField("purge_time")
            await eventually(lambda: watcher.is_over, "the watch ends", service=own_service)
            assert watcher.closing is not None
            assert watcher.closing.reason == StreamClosing.REASON_SCOPE_GONE
        token = watcher.mirror.resume_token
        await asyncio.sleep(0.5)
        await scene.directory.book(scene.mailbox(1), tomorrow(9))
        await asked_nothing_for_a_while(scene)
        with pytest.raises(NotFound):
            await scene.client.list_bookings(scene.room(), tomorrow(0), tomorrow(1))
        with pytest.raises(AlreadyExists) as taken:
            await scene.register()
        assert taken.value.metadata["purge_time"]
        assert [tenant.name async for tenant in scene.client.list_tenants(show_deleted=True)] == [scene.tenant]
        assert [tenant.name async for tenant in scene.client.list_tenants()] == []
        await asyncio.to_thread(own_service.stop)
        await asyncio.to_thread(own_service.start)
        await scene.client.undelete_tenant(scene.tenant)
        await scene.settled_rooms()
        # A token of before must not go on as if its reader had kept what it was told to forget.
        async with scene.watching(resume_token=token) as again:
            await scene.converged(again)
            assert len(again.mirror.bookings(scene.room(0))) == len(again.mirror.bookings(scene.room(1))) == 1
        assert await scene.directory.subscribed() == sorted(scene.rooms.values())
        await prove_copy(scene)
        await scene.client.delete_tenant(scene.tenant)
        await scene.client.delete_tenant(scene.tenant, purge=True)
        await eventually(scene.is_erased, "the tenant is erased", service=own_service)
        assert await scene.directory.subscribed() == []


async def test_watch_of_a_tenant_tells_what_other_processes_find_and_do(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> None:
    with postgres.database(is_migrated=False) as dsn_file:
        async with cluster_made(tmp_path_factory.mktemp, dsn_file, emulator, **QUICK) as cluster:
            api, other, ingress, worker = (cluster.add(role) for role in ("api", "api", "ingress", "worker"))
            await cluster.start(api, other, ingress, worker)
            async with (
                directory_made(emulator, rooms=3) as directory,
                ExchangeClient.connect(api.target) as client,
                ExchangeClient.connect(other.target) as elsewhere,
            ):
                scene = Scene(api, client, directory, tenant_id=f"t-{directory.id[:8]}")
                await scene.register()
                async with elsewhere.watch_tenant(scene.tenant, heartbeat_s=60) as watch, asyncio.timeout(60):

                    async def until(state: Tenant.State.ValueType, rooms: dict[int, int]) -> WatchTenantResponse:
                        async for message in watch:
                            assert isinstance(message, WatchTenantResponse)
                            counts = {one.state: one.count for one in message.rooms.states}
                            if (message.tenant.state, counts) == (state, rooms):
                                return message
                        raise AssertionError("the watch ended")

                    await until(Tenant.STATE_ACTIVE, {})
                    await scene.map_all()
                    await until(Tenant.STATE_ACTIVE, {Room.STATE_UP: 3})
                    await directory.call("PATCH", "app", {"access_policy": directory.rooms[:2]})
                    for room in scene.rooms:
                        await client.resync_room(room)
                    await until(Tenant.STATE_ACTIVE, {Room.STATE_UP: 2, Room.STATE_DENIED: 1})
                    await client.suspend_tenant(scene.tenant)
                    await until(Tenant.STATE_SUSPENDED, {Room.STATE_PAUSED: 3})
                    await client.delete_tenant(scene.tenant, purge=True)
                    rest = [message async for message in watch]
                    assert isinstance(rest[-1], WatchTenantResponse)
                    assert rest[-1].closing.reason == StreamClosing.REASON_SCOPE_GONE
