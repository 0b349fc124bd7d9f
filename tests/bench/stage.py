"""The service and the emulator as processes, with rooms full of bookings, ready to be measured."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
from google.protobuf.message import Message

from sidecar.cli.processes import Started, service_env, started
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from sidecar.store.key_ring import create_key_ring
from tests.bench.lines import Json
from tests.bench.programs import wait_idle

TENANT = "bench"
PREFIX = "/ioffice.exchange.v1."
_CALL_S = 60.0
_READY_S = 600.0
"""How long an import may take on a busy machine; a benchmark with more to import says so."""
_LIST_MAX = 1_000
_LATENCY_S = (0.05, 0.25)
"""What users see of Graph for one mailbox, between the best and the usual day."""

M = TypeVar("M", bound=Message)


class Api:
    """Calls to the service, as few as a benchmark needs beside what it measures."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, method: str, request: Message, answer_type: type[M]) -> M:
        """Call a method by its short name, such as BookingService/ListBookings."""
        call: grpc.UnaryUnaryMultiCallable[Message, M] = self._channel.unary_unary(
            PREFIX + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )
        return call(request, timeout=_CALL_S)


@dataclass(frozen=True, slots=True)
class Microsoft:
    """The emulator with one tenant."""

    started: Started
    control: httpx.Client
    tenant: Json
    rooms: list[Json]

    @property
    def path(self) -> str:
        """Where the control API has the tenant."""
        return f"/control/tenants/{self.tenant['tenant_id']}"

    def post(self, path: str, body: Json) -> Json:
        """Call the tenant's control API."""
        answer = self.control.post(self.path + path, json=body)
        answer.raise_for_status()
        return dict(answer.json())

    def get(self, path: str) -> Any:  # Any: JSON
        """Read from the tenant's control API."""
        answer = self.control.get(self.path + path)
        answer.raise_for_status()
        return answer.json()


@dataclass(frozen=True, slots=True)
class Service:
    """The service as a process."""

    started: Started
    api: Api
    webhook_port: int

    @property
    def pid(self) -> int:
        """Its process."""
        return self.started.process.pid

    @property
    def target(self) -> str:
        """Its TCP address."""
        addresses = self.started.ready["grpc"]
        assert isinstance(addresses, list), "the ready line holds a list"
        return str(addresses[-1])


@contextmanager
def microsoft(folder: Path, *, rooms_count: int, bookings_count: int) -> Iterator[Microsoft]:
    """Start the emulator, calm, with rooms full of bookings from today on."""
    with started(
        ["emulator", "--ca-dir", str(folder), "--calm", "--rooms", "0"], log_file=folder / "emulator.log"
    ) as emulator:
        url = emulator.text("control_url")
        with httpx.Client(base_url=url, trust_env=False, timeout=_READY_S) as control:
            tenant = control.post("/control/tenants", json={"domain": "contoso.example"}).raise_for_status().json()
            stage = Microsoft(emulator, control, tenant, [])
            seeded = stage.post("/seed", {"rooms": rooms_count, "bookings_per_room": bookings_count})
            stage.rooms.extend(seeded["rooms"])
            yield stage


def add_tenant(emulator: Microsoft, domain: str, *, rooms_count: int, bookings_count: int) -> Microsoft:
    """Make one more tenant in the same emulator, with rooms full of bookings."""
    tenant = emulator.control.post("/control/tenants", json={"domain": domain}).raise_for_status().json()
    stage = Microsoft(emulator.started, emulator.control, tenant, [])
    seeded = stage.post("/seed", {"rooms": rooms_count, "bookings_per_room": bookings_count})
    stage.rooms.extend(seeded["rooms"])
    return stage


def as_documented(emulator: Microsoft) -> None:
    """Let the emulator answer as slowly as Graph does, and enforce for everybody what Graph documents."""
    moods = {"latency_min_s": _LATENCY_S[0], "latency_max_s": _LATENCY_S[1], "mailbox_concurrency_max": 4}
    emulator.control.put("/control/moods", json=moods).raise_for_status()
    told = emulator.control.get("/control/throttle").raise_for_status().json()
    limits = {limit["limit"]: limit["documented_max"] for limit in told["limits"] if limit["documented_max"]}
    emulator.control.put("/control/throttle", json={"limits": limits}).raise_for_status()


@contextmanager
def service(folder: Path, emulator: Microsoft, *, webhook_port: int | None = None) -> Iterator[Service]:
    """Start the service on the database in a folder, a new one if there is none.

    Args:
        webhook_port: where it listened before, for a start on a database that is not new.
    """
    folder.mkdir(exist_ok=True)
    if not (folder / "keyring.json").exists():
        create_key_ring(folder / "keyring.json")
    port = webhook_port or free_port()
    env = service_env(folder, emulator.started, webhook_port=port)
    env["EXCHANGE_LOG__LEVEL"] = "warning"
    with started(["serve"], log_file=folder / "service.log", env=env) as running:
        addresses = running.ready["grpc"]
        assert isinstance(addresses, list), "the ready line holds a list"
        with grpc.insecure_channel(str(addresses[-1])) as channel:
            yield Service(running, Api(channel), port)


@contextmanager
def stage(folder: Path, *, rooms_count: int, bookings_count: int) -> Iterator[tuple[Service, Microsoft]]:
    """Start both; go on when every room has been read and is announced, and both have come to rest."""
    with (
        microsoft(folder, rooms_count=rooms_count, bookings_count=bookings_count) as emulator,
        service(folder / "service", emulator) as running,
    ):
        map_rooms(running, emulator)
        wait_live(running, len(emulator.rooms))
        wait_idle(running.pid, emulator.started.process.pid)
        yield running, emulator


def map_rooms(running: Service, emulator: Microsoft, *, tenant_id: str = TENANT) -> None:
    """Register the tenant and map all its rooms as r1, r2, ..."""
    tenant = emulator.tenant
    running.api.call(
        "TenantService/RegisterTenant",
        tenant_pb.RegisterTenantRequest(
            tenant_id=tenant_id,
            tenant=tenant_pb.Tenant(directory_id=tenant["tenant_id"]),
            credential=tenant_pb.Credential(application_id=tenant["client_id"], client_secret=tenant["client_secret"]),
        ),
        tenant_pb.RegisterTenantResponse,
    )
    requests = [
        room_pb.MapRoomRequest(
            parent=f"tenants/{tenant_id}", room_id=f"r{number}", room=room_pb.Room(mailbox=room["address"])
        )
        for number, room in enumerate(emulator.rooms, 1)
    ]
    for start in range(0, len(requests), 100):
        batch = room_pb.BatchMapRoomsRequest(parent=f"tenants/{tenant_id}", requests=requests[start : start + 100])
        running.api.call("RoomService/BatchMapRooms", batch, room_pb.BatchMapRoomsResponse)


def wait_live(running: Service, rooms_count: int, *, tenant_id: str = TENANT, patience_s: float = _READY_S) -> float:
    """Wait until so many rooms have been read completely and are announced; return when that was seen."""
    request = room_pb.ListRoomsRequest(parent=f"tenants/{tenant_id}", page_size=_LIST_MAX)
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        rooms = running.api.call("RoomService/ListRooms", request, room_pb.ListRoomsResponse).rooms
        if sum(room.sync.state == common_pb.SYNC_STATE_LIVE for room in rooms) == rooms_count:
            return time.monotonic()
        time.sleep(0.25)
    raise RuntimeError(f"the rooms did not come up:\n{running.started.log_file.read_text()[-2_000:]}")


def wait_read(running: Service, rooms_count: int, *, tenant_id: str) -> float:
    """Wait until so many rooms of a tenant have been read completely, announced or not; return when that was seen."""
    deadline_s = time.monotonic() + _READY_S
    while count_read(running, tenant_id=tenant_id) < rooms_count:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the rooms were not read:\n{running.started.log_file.read_text()[-2_000:]}")
        time.sleep(0.25)
    return time.monotonic()


def count_read(running: Service, *, tenant_id: str) -> int:
    """Count the rooms of a tenant that have been read completely."""
    count, token = 0, ""
    while True:
        request = room_pb.ListRoomsRequest(parent=f"tenants/{tenant_id}", page_size=_LIST_MAX, page_token=token)
        answer = running.api.call("RoomService/ListRooms", request, room_pb.ListRoomsResponse)
        read = (common_pb.SYNC_STATE_LIVE, common_pb.SYNC_STATE_POLLING)
        count += sum(room.sync.state in read for room in answer.rooms)
        token = answer.next_page_token
        if not token:
            return count


def reading_job(emulator: Microsoft) -> Json:
    """Return what a program needs to read all rooms of a tenant by itself."""
    tenant = emulator.tenant
    return {
        "url": emulator.started.text("graph_url"),
        "ca_file": emulator.started.text("ca_file"),
        "directory": tenant["tenant_id"],
        "client_id": tenant["client_id"],
        "client_secret": tenant["client_secret"],
        "mailboxes": [room["address"] for room in emulator.rooms],
    }


def watch_all(channel: grpc.Channel) -> grpc._CallIterator[watch_pb.WatchRoomsResponse]:
    """Watch all rooms; the result is the call, too, and may be cancelled."""
    call: grpc.UnaryStreamMultiCallable[watch_pb.WatchRoomsRequest, watch_pb.WatchRoomsResponse] = channel.unary_stream(
        f"{PREFIX}WatchService/WatchRooms",
        request_serializer=watch_pb.WatchRoomsRequest.SerializeToString,
        response_deserializer=watch_pb.WatchRoomsResponse.FromString,
    )
    return call(watch_pb.WatchRoomsRequest(parent=f"tenants/{TENANT}"))


def list_request(room_id: str, *, page_size: int = 100) -> booking_pb.ListBookingsRequest:
    """Return a request for all that a room holds around now."""
    now = datetime.now(UTC)
    request = booking_pb.ListBookingsRequest(parent=f"tenants/{TENANT}/rooms/{room_id}", page_size=page_size)
    request.window.start_time.FromDatetime(now - timedelta(days=7))
    request.window.end_time.FromDatetime(now + timedelta(days=365))
    return request


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
