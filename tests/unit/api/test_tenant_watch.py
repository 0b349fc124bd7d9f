"""WatchTenant over the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from tests.support.builders import CANARY
from tests.unit.api.rig import Rig, failing, serving

NAME = "tenants/acme"


async def read(stream: Any) -> pb.WatchTenantResponse:  # a call of the stub
    """Return the next message."""
    async with asyncio.timeout(20):
        message = await stream.read()
    assert isinstance(message, pb.WatchTenantResponse), message
    return message


async def test_tenant_is_told_whole_at_once_and_when_it_changes(rig: Rig) -> None:
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1")
    await rig.db.add_room("r2")
    stream = rig.tenants.WatchTenant(pb.WatchTenantRequest(name=NAME))
    first = await read(stream)
    assert first.tenant == (await rig.tenants.GetTenant(pb.GetTenantRequest(name=NAME))).tenant
    assert first.rooms.total_count == 2
    assert [(one.state, one.count) for one in first.rooms.states] == [
        (room_pb.Room.STATE_IMPORTING, 1),
        (room_pb.Room.STATE_UP, 1),
    ]
    assert [(one.state, one.count) for one in first.rooms.sync_states] == [
        (common_pb.SYNC_STATE_INITIALIZING, 1),
        (common_pb.SYNC_STATE_POLLING, 1),
    ]
    assert (first.next.kind, first.next.HasField("time")) == (pb.NextStep.KIND_IMPORT, False)
    await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=NAME, reason="unpaid"))
    paused = await read(stream)
    assert paused.tenant.state == pb.Tenant.STATE_SUSPENDED
    assert [(one.state, one.count) for one in paused.rooms.states] == [(room_pb.Room.STATE_PAUSED, 2)]
    assert not paused.HasField("next")
    gone = (await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME))).tenant
    deleted = await read(stream)
    assert deleted.tenant.state == pb.Tenant.STATE_DELETED
    assert (deleted.next.kind, deleted.next.time) == (pb.NextStep.KIND_PURGE, gone.purge_time)
    stream.cancel()


async def test_erased_tenant_ends_the_stream_with_a_message(rig: Rig) -> None:
    tenant = await rig.db.add_tenant()
    stream = rig.tenants.WatchTenant(pb.WatchTenantRequest(name=NAME))
    await read(stream)
    await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME, purge=True))
    await rig.db.store.tenants.erase(tenant.uid)
    while not (last := await read(stream)).HasField("closing"):
        assert last.tenant.state == pb.Tenant.STATE_DELETED
    assert last.closing.reason == watch_pb.StreamClosing.REASON_SCOPE_GONE
    assert not last.HasField("tenant")
    assert await stream.read() is grpc.aio.EOF


async def test_draining_ends_the_stream_with_a_message(rig: Rig) -> None:
    await rig.db.add_tenant()
    stream = rig.tenants.WatchTenant(pb.WatchTenantRequest(name=NAME))
    await read(stream)
    rig.feed.drain()
    assert (await read(stream)).closing.reason == watch_pb.StreamClosing.REASON_DRAINING
    assert await stream.read() is grpc.aio.EOF


async def test_watches_of_tenants_and_of_rooms_share_one_limit(tmp_path: Path) -> None:
    async with serving(tmp_path, watches_max=1) as rig:
        await rig.db.add_tenant()
        stream = rig.tenants.WatchTenant(pb.WatchTenantRequest(name=NAME))
        await read(stream)
        told = await failing(rig.tenants.WatchTenant(pb.WatchTenantRequest(name=NAME)))
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_LIMIT")
        stream.cancel()


async def test_broken_fields_and_missing_tenants_are_told(rig: Rig) -> None:
    request = pb.WatchTenantRequest(name="acme", heartbeat_interval=Duration(seconds=1), watcher_id=CANARY * 100)
    told = await failing(rig.tenants.WatchTenant(request))
    assert set(told.violations) == {"name", "heartbeat_interval", "watcher_id"}
    assert CANARY.encode() not in told.raw
    told = await failing(rig.tenants.WatchTenant(pb.WatchTenantRequest(name="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
