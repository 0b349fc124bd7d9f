"""Listening, limits, health and the end of a server."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sidecar.api import health as health_module
from sidecar.api.audited import Auditor
from sidecar.api.boundary import Boundary
from sidecar.api.door import Door
from sidecar.api.limits import CallerLimits
from sidecar.api.listen import SocketLock
from sidecar.api.server import _TENANT, ApiServer, _build_handlers
from sidecar.errors import ApiEnded, SettingsInvalid
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.settings import GrpcSettings
from tests.support.stores import ManualClock
from tests.unit.api.rig import Counts, Noted, Rig, failing, make_settings, raw, serving

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("", *(f"ioffice.exchange.v1.{name}Service" for name in ("Tenant", "Room", "Booking", "Watch")))
GET = tenant_pb.GetTenantRequest(name="tenants/acme")


class Gate:
    """Holds calls of GetTenant until it is opened."""

    def __init__(self, rig: Rig) -> None:
        self._load = rig.db.store.tenants.load
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        rig.db.store.tenants.load = self.load  # type: ignore[method-assign]

    async def load(self, tenant_id: Any) -> Any:
        """Wait, then load."""
        self.entered.set()
        await self.open.wait()
        return await self._load(tenant_id)


def second(rig: Rig, socket_path: Path, **grpc_settings: Any) -> ApiServer:
    settings = make_settings(socket_path, **grpc_settings)
    store = rig.db.store
    return ApiServer(
        store=store,
        feed=rig.feed,
        inquiries=rig.directory.inquiries(store, rig.diagnosis),
        settings=settings,
        clock=rig.clock,
        metrics=Counts(),
    )


async def health(rig: Rig, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(rig.channel)
    answer: int = (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
    return answer


async def test_every_service_is_healthy_until_the_drain(rig: Rig) -> None:
    assert [await health(rig, service) for service in SERVICES] == [SERVING] * 5
    await rig.db.add_tenant()
    await rig.server.drain()
    assert [await health(rig, service) for service in SERVICES] == [NOT_SERVING] * 5
    assert (await rig.tenants.GetTenant(GET)).tenant.name == "tenants/acme"


async def test_calls_under_way_end_well_while_new_ones_are_refused(rig: Rig) -> None:
    await rig.db.add_tenant()
    gate = Gate(rig)
    under_way = rig.tenants.GetTenant(GET)
    await gate.entered.wait()
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(rig.server.stop(10.0))
        while (
            told := await failing(rig.tenants.ListTenants(tenant_pb.ListTenantsRequest(page_size=-1)))
        ).retry_s is None:
            assert told.reason == "FIELD_INVALID"  # before the stop has begun
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        assert not stopping.done()
        gate.open.set()
        assert (await under_way).tenant.name == "tenants/acme"


async def test_stop_does_not_wait_for_watches_of_the_health_service(rig: Rig) -> None:
    stub = health_pb2_grpc.HealthStub(rig.channel)
    stream = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await stream.read()).status == SERVING
    async with asyncio.timeout(5):
        await rig.server.stop(3_600.0)


async def test_watches_of_the_health_service_are_limited(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers may ask it, and shall not hold any number of streams."""
    monkeypatch.setattr(health_module, "_WATCHES_MAX", 1)
    stub = health_pb2_grpc.HealthStub(rig.channel)
    first = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await first.read()).status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Watch(health_pb2.HealthCheckRequest()).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await health(rig, "") == SERVING
    first.cancel()


async def test_more_calls_than_the_limit_are_refused_and_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, calls_max=1) as rig:
        await rig.db.add_tenant()
        gate = Gate(rig)
        first = rig.tenants.GetTenant(GET)
        await gate.entered.wait()
        told = await failing(rig.tenants.ListTenants(tenant_pb.ListTenantsRequest()))
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALL_LIMIT")
        gate.open.set()
        await first
        await rig.tenants.ListTenants(tenant_pb.ListTenantsRequest())
        assert rig.counts.counters == {"rpc_calls": 3, "rpc_errors": 1}
        assert rig.counts.durations == {"rpc_duration": 3}


async def test_cancelled_call_gives_its_place_back(tmp_path: Path) -> None:
    async with serving(tmp_path, calls_max=1) as rig:
        await rig.db.add_tenant()
        gate = Gate(rig)
        gone = rig.tenants.GetTenant(GET)
        await gate.entered.wait()
        gone.cancel()
        gate.open.set()
        while True:
            try:
                await rig.tenants.ListTenants(tenant_pb.ListTenantsRequest())
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  (until the cancel arrives)


async def test_unknown_method_and_service_are_told(rig: Rig) -> None:
    for name in ("/ioffice.exchange.v1.TenantService/Rename", "/other.Service/Do"):
        told = await failing(raw(rig.channel, name)(b""))
        assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_bytes_that_are_no_request_are_the_callers_fault(rig: Rig) -> None:
    told = await failing(raw(rig.channel, "/ioffice.exchange.v1.TenantService/GetTenant")(b"\xff\xff"))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_request_beyond_the_size_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, message_bytes_max=2_048) as rig:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.rooms.GetRoom(room_pb.GetRoomRequest(name="x" * 4_096))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_broken_store_is_told_as_unavailable_without_its_words(rig: Rig) -> None:
    await rig.db.execute("ALTER TABLE credentials RENAME TO elsewhere")
    told = await failing(rig.tenants.GetTenant(GET))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert b"credentials" not in told.raw


async def test_rpc_without_a_handler_stops_the_start() -> None:
    clock = ManualClock()
    auditor = Auditor(audit=Noted(), clock=clock)
    door = Door(callers=None, clock=clock)
    limits = CallerLimits(GrpcSettings(), clock=clock)
    boundary = Boundary(
        door=door, caller_limits=limits, calls_max=1, waiting_max=1, auditor=auditor, clock=clock, metrics=Counts()
    )
    with pytest.raises(LookupError, match="TenantService/"):
        _build_handlers(boundary, _TENANT, object())


async def _services(rig: Rig) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
    stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await stream.read()
    stream.cancel()
    return [service.name for service in answer.list_services_response.service]


async def test_reflection_lists_the_services(rig: Rig) -> None:
    assert set(SERVICES[1:]) < set(await _services(rig))


async def test_reflection_can_be_switched_off(tmp_path: Path) -> None:
    async with serving(tmp_path, reflection=False) as rig:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _services(rig)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_free_port_is_found_and_told(tmp_path: Path) -> None:
    async with serving(tmp_path, addresses=("127.0.0.1:0",)) as rig:
        assert rig.addresses[0] == f"unix:{rig.socket}"
        host, port = rig.addresses[1].split(":")
        assert (host, int(port) > 0) == ("127.0.0.1", True)
        async with grpc.aio.insecure_channel(rig.addresses[1]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_taken_port_is_refused_rather_than_shared(rig: Rig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsInvalid) as caught:
            await second(rig, tmp_path / "other.sock", addresses=(address,)).start()
        assert address in caught.value.details["grpc.addresses"]
    third = second(rig, tmp_path / "other.sock")
    assert await third.start()  # the failure has not kept the socket
    await third.stop(1.0)


async def test_socket_has_the_mode_that_was_set(tmp_path: Path) -> None:
    async with serving(tmp_path, socket_mode=0o600) as rig:
        assert stat.S_IMODE(rig.socket.stat().st_mode) == 0o600


def test_missing_folder_of_the_socket_is_made_for_owner_and_group(tmp_path: Path) -> None:
    SocketLock(tmp_path / "run" / "api.sock").take()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o750


def test_made_folder_goes_on_handing_down_the_group_of_its_parent(tmp_path: Path) -> None:
    """A pod's volume has the pod's group and this bit; without it an app with another user could not open the socket."""
    tmp_path.chmod(0o2777)
    SocketLock(tmp_path / "app" / "api.sock").take()
    assert stat.S_IMODE((tmp_path / "app").stat().st_mode) == 0o2750


@pytest.mark.parametrize(("mode", "events"), [(0o777, ["socket.folder_open"]), (0o1777, []), (0o770, []), (0o755, [])])
def test_folder_where_anybody_could_replace_the_socket_is_told(tmp_path: Path, mode: int, events: list[str]) -> None:
    tmp_path.chmod(mode)
    with structlog.testing.capture_logs() as lines:
        SocketLock(tmp_path / "api.sock").take()
    assert [line["event"] for line in lines] == events


async def test_second_server_on_a_socket_is_refused_and_the_first_goes_on(rig: Rig) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        await second(rig, rig.socket).start()
    assert "in use by another process" in caught.value.details["grpc.socket"]
    assert await health(rig, "") == SERVING


async def test_socket_left_by_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "api.sock"))
    async with serving(tmp_path) as rig:
        assert await health(rig, "") == SERVING


def test_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(SettingsInvalid):
        SocketLock(path).take()
    assert path.read_text() == "precious"
    path.unlink()
    lock = SocketLock(path)
    lock.take()  # the refusal has not kept the lock
    lock.release()


def test_path_that_cannot_be_a_socket_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 120), tmp_path / "missing" / "too" / "api.sock"):
        with pytest.raises(SettingsInvalid):
            SocketLock(path).take()


async def test_stopped_server_can_be_followed_by_another_on_the_same_socket(rig: Rig) -> None:
    await rig.server.stop(1.0)
    server = second(rig, rig.socket)
    assert await server.start() == [f"unix:{rig.socket}"]
    await server.stop(1.0)


async def test_server_that_ends_by_itself_is_an_error(rig: Rig) -> None:
    server = rig.server._server
    assert server is not None
    async with asyncio.timeout(5):
        await server.stop(None)
        with pytest.raises(ApiEnded):
            await rig.server.wait_ended()


async def test_server_that_was_stopped_is_none(rig: Rig) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(rig.server.wait_ended())
        await rig.server.stop(0.1)
