"""A real server on a Unix socket, over a real store and a real feed; only the calendar's time is the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from sidecar.aio.clock import SystemClock
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.server import ApiServer
from sidecar.diagnosis.diagnosis import Diagnosis
from sidecar.feed.feed import Feed
from sidecar.gen.ioffice.exchange.v1 import (
    audit_service_pb2_grpc,
    booking_service_pb2_grpc,
    diagnostics_service_pb2_grpc,
    room_service_pb2_grpc,
    task_service_pb2_grpc,
    tenant_service_pb2_grpc,
    watch_service_pb2_grpc,
)
from sidecar.gen.ioffice.exchange.v1.common_pb2 import TimeWindow
from sidecar.model.ids import TenantId
from sidecar.model.intent import Intent
from sidecar.model.room import freshness_limits
from sidecar.model.window import Window, to_micros
from sidecar.settings import GrpcSettings, Settings, WatchSettings
from sidecar.store.audit import Acting
from sidecar.store.store import Store
from sidecar.tasks.called_runner import CalledRunner
from sidecar.tasks.chores import Outcome
from sidecar.tasks.driving import LaneDriving
from sidecar.telemetry.metrics import Telemetry
from sidecar.telemetry.tracing import OFF, Tracing
from tests.support.builders import HORIZON, NOW
from tests.support.driven import SETTINGS, Work, make_called, nothing
from tests.support.fake_directory import FakeDirectory
from tests.support.fake_microsoft import FakeMicrosoft, make_diagnosis
from tests.support.stores import OpenStore, make_vault, open_store

PATIENCE_S = 20.0
"""A test that hangs fails after this long; none of them waits for it."""


class CalendarClock(SystemClock):
    """The loop's own time, and a calendar that stands still until the test moves it."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> Any:
        """Return the test's time."""
        return self.at


class Counts:
    """Metrics that tests read."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.durations: Counter[str] = Counter()
        self.failed = asyncio.Event()

    def count(self, name: str, amount: int, *values: str) -> None:
        """Add to a counter."""
        self.counters[name] += amount
        if name == "rpc_errors":
            self.failed.set()

    def measure(self, name: str, duration_s: float) -> None:
        """Note that a duration was recorded."""
        assert duration_s >= 0
        self.durations[name] += 1


class Noted:
    """An `AuditLog` that takes the values of entries down."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []

    async def note(self, one: Acting, *, outcome: str) -> None:
        """See `AuditLog`."""
        self.entries.append(dict(one.act.values))


@dataclass(kw_only=True)
class Rig:
    """What a test holds in its hands."""

    db: OpenStore
    feed: Feed
    directory: FakeDirectory
    server: ApiServer
    clock: CalendarClock
    counts: Counts
    socket: Path
    addresses: list[str]
    channel: grpc.aio.Channel
    microsoft: FakeMicrosoft
    diagnosis: Diagnosis
    called: CalledRunner
    called_work: list[Work]
    """What a lane is drained with is the first of these."""

    async def suspend(self, tenant_id: str) -> None:
        """Suspend a tenant."""
        await self.db.store.lifecycle.suspend(TenantId(tenant_id), reason="test")

    @property
    def tasks(self) -> Any:
        """Stub of TaskService."""
        return task_service_pb2_grpc.TaskServiceStub(self.channel)

    @property
    def tenants(self) -> Any:  # generated stubs have no useful common type
        """Stub of TenantService."""
        return tenant_service_pb2_grpc.TenantServiceStub(self.channel)

    @property
    def rooms(self) -> Any:
        """Stub of RoomService."""
        return room_service_pb2_grpc.RoomServiceStub(self.channel)

    @property
    def bookings(self) -> Any:
        """Stub of BookingService."""
        return booking_service_pb2_grpc.BookingServiceStub(self.channel)

    @property
    def audit(self) -> Any:
        """Stub of AuditService."""
        return audit_service_pb2_grpc.AuditServiceStub(self.channel)

    @property
    def diagnostics(self) -> Any:
        """Stub of DiagnosticsService."""
        return diagnostics_service_pb2_grpc.DiagnosticsServiceStub(self.channel)

    @property
    def watch(self) -> Any:
        """Stub of WatchService."""
        return watch_service_pb2_grpc.WatchServiceStub(self.channel)


def raw(channel: grpc.aio.Channel, method: str, *, is_stream: bool = False) -> Any:
    """Return a call of a method with bytes in and out (Any: the types of gRPC know no calls without serializers)."""
    return channel.unary_stream(method) if is_stream else channel.unary_unary(method)


def make_settings(socket: Path, *, watch: dict[str, Any] | None = None, **grpc_settings: Any) -> Settings:
    """Return settings for a server on a socket only."""
    return Settings(
        grpc=GrpcSettings(**{"socket": socket, "addresses": (), **grpc_settings}),
        watch=WatchSettings(**(watch or {})),
    )


@asynccontextmanager
async def serving(
    tmp_path: Path, *, watch: dict[str, Any] | None = None, tracing: Tracing = OFF, **grpc_settings: Any
) -> AsyncIterator[Rig]:
    """Serve the API while inside."""
    clock, counts = CalendarClock(), Counts()
    settings = make_settings(tmp_path / "api.sock", watch=watch, **grpc_settings)
    async with asyncio.timeout(PATIENCE_S), open_store(tmp_path / "api.sqlite3", clock=clock) as plain:
        store = Store(plain.engine, vault=make_vault(), codec=ProtoBookingCodec())
        feed = Feed(
            store=store,
            identity=await store.identity(),
            settings=settings.watch,
            limits=freshness_limits(settings.sync),
            watches_max=settings.grpc.watches_max,
            clock=clock,
            rng=Random(7),
            telemetry=Telemetry(),
        )
        microsoft = FakeMicrosoft()
        diagnosis = make_diagnosis(store, microsoft, clock)
        directory = FakeDirectory()
        called_work: list[Work] = [nothing]

        async def work(intent: Intent) -> Outcome | None:
            return await called_work[0](intent)

        called = make_called(store, work, clock=clock)
        driving = LaneDriving(store=store, runner=called, clock=clock, sweep_s=SETTINGS.sweep_s)
        inquiries = directory.inquiries(store, diagnosis, clock=clock, driving=driving)
        server = ApiServer(
            store=store,
            feed=feed,
            inquiries=inquiries,
            settings=settings,
            clock=clock,
            metrics=counts,
            tracing=tracing,
        )
        # A group would wrap what a test raises.
        runs = (feed.run, feed.tenants.run, inquiries.writing.driver.run)
        following = [asyncio.create_task(run(), name="feed") for run in runs]
        addresses = await server.start()
        try:
            async with grpc.aio.insecure_channel(addresses[0]) as channel:
                yield Rig(
                    db=OpenStore(store, plain.engine, clock, plain.path),
                    feed=feed,
                    directory=directory,
                    server=server,
                    clock=clock,
                    counts=counts,
                    socket=tmp_path / "api.sock",
                    addresses=addresses,
                    channel=channel,
                    microsoft=microsoft,
                    diagnosis=diagnosis,
                    called=called,
                    called_work=called_work,
                )
        finally:
            feed.drain()
            await server.stop(1.0)
            for task in following:
                task.cancel()
            await asyncio.wait(following)


def time_of(at: Any) -> Timestamp:
    """Return an instant as a message."""
    message = Timestamp()
    message.FromMicroseconds(to_micros(at))
    return message


def window_of(window: Window = HORIZON) -> TimeWindow:
    """Return a window as a message."""
    return TimeWindow(start_time=time_of(window.start_at), end_time=time_of(window.end_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A status that a call ended with."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_s: float | None
    raw: bytes


async def failing(call: Any) -> Told:  # a unary call or a stream of any type
    """Await a call that must fail, and read its status."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return told(error)
    raise AssertionError("the call went well")


def told(error: grpc.aio.AioRpcError) -> Told:
    """Read the status of a failed call."""
    trailers = dict(error.trailing_metadata() or ())
    raw = trailers.get("grpc-status-details-bin", b"")
    assert isinstance(raw, bytes)
    assert len(raw) < 4096
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info, bad, retry = _unpacked(status)
    return Told(
        code=error.code(),
        message=status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations={item.field: item.description for item in bad.field_violations},
        retry_s=retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else None,
        raw=raw,
    )


def _unpacked(status: Any) -> tuple[Any, Any, Any]:  # google.rpc publishes no types
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            assert info.domain == "exchange.ioffice.com"
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
    return info, bad, retry


async def take(stream: Any, kind: str) -> Message:  # a stream of either watch
    """Read a stream up to the first message of a kind, and return it."""
    async for message in stream:
        if message.WhichOneof("event") == kind:
            found: Message = message
            return found
    raise AssertionError(f"the stream ended before a {kind}")
