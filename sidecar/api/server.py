"""The gRPC server: every RPC of the protos, health, reflection, its listeners, and how it ends.

Responses leave the handlers as bytes, so serializers only pass them through. An RPC without a handler stops the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sidecar.aio.clock import Clock
from sidecar.aio.followed import FollowedFiles
from sidecar.api.access import SCOPES, naming_paths
from sidecar.api.arrivals import Arrivals
from sidecar.api.audited import Auditor
from sidecar.api.boundary import Boundary, Metrics, Pool, Rpc
from sidecar.api.callers import Callers, read_callers
from sidecar.api.door import Door
from sidecar.api.health import LimitedHealth
from sidecar.api.limits import CallerLimits
from sidecar.api.listen import SocketLock, only_for
from sidecar.api.servicers import Inquiries, build_servicers
from sidecar.api.streaming import Streams
from sidecar.api.tls import build_credentials, follow_tls
from sidecar.errors import ApiEnded, SettingsInvalid
from sidecar.feed.feed import Feed
from sidecar.gen.ioffice.exchange.v1 import (
    audit_service_pb2,
    booking_service_pb2,
    diagnostics_service_pb2,
    room_service_pb2,
    task_service_pb2,
    tenant_service_pb2,
    watch_service_pb2,
)
from sidecar.settings import GrpcSettings, Settings
from sidecar.store.store import Store
from sidecar.telemetry.tracing import OFF, Tracing

_AUDIT = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"]
_TENANT = tenant_service_pb2.DESCRIPTOR.services_by_name["TenantService"]
_ROOM = room_service_pb2.DESCRIPTOR.services_by_name["RoomService"]
_BOOKING = booking_service_pb2.DESCRIPTOR.services_by_name["BookingService"]
_DIAGNOSTICS = diagnostics_service_pb2.DESCRIPTOR.services_by_name["DiagnosticsService"]
_TASK = task_service_pb2.DESCRIPTOR.services_by_name["TaskService"]
_WATCH = watch_service_pb2.DESCRIPTOR.services_by_name["WatchService"]

SERVICES: tuple[ServiceDescriptor, ...] = (_TENANT, _ROOM, _BOOKING, _WATCH, _AUDIT, _DIAGNOSTICS, _TASK)
"""All services of the protos."""

_NAMING_PATHS = ("parent", "name", "room", "tenant_id", "tenant.name", "room.name", "lane", "scope")
_WAITING = frozenset(
    {
        "WatchService/ReadChanges",
        "BookingService/CreateBooking",
        "BookingService/ReleaseBooking",
        "BookingService/UpdateBooking",
        "BookingService/CancelBooking",
        "RoomService/DiscoverRooms",
        "RoomService/UpdateRoom",
        "RoomService/CheckRoomAccess",
        "BookingService/FindAvailability",
        "TenantService/RotateTenantCredential",
        "TenantService/VerifyTenant",
        "DiagnosticsService/DiagnoseTenant",
        "DiagnosticsService/DiagnoseRoom",
        "TaskService/ListDueLanes",
        "TaskService/DrainLane",
    }
)
"""These wait for changes, for work, or for Microsoft."""
_LAST_WORDS_S = 0.5
"""Given to streams that are not ours, such as a watch of the health service, and to statuses still on their way."""
_PENDING_MAX = 20_000
"""Streams opened at once that wait for the event loop. gRPC's default refuses about 1,000 of them with CANCELLED."""
_RESPONSE_BYTES_MAX = 16 * 1024 * 1024
"""Pages are cut at 3 MiB; one booking with all its attendees is far smaller than this."""


def _follow_callers(settings: GrpcSettings) -> FollowedFiles[Callers] | None:
    """Read who may call, and go on reading it.

    Raises:
        SettingsInvalid: the file cannot be used.
    """
    path = settings.callers_file
    return None if path is None else FollowedFiles("callers", (path,), partial(read_callers, path))


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # on, a second process would silently take half of the calls
        ("grpc.server.max_pending_requests", _PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_MAX),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_send_message_length", _RESPONSE_BYTES_MAX),
        # A frozen peer is noticed after 15 s; clients may ping as often.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ]


class ApiServer:
    """Serves the API from `start` to `stop`."""

    def __init__(
        self,
        *,
        store: Store,
        feed: Feed,
        inquiries: Inquiries,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        tracing: Tracing = OFF,
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._streams = Streams(metrics)
        self._clock = clock
        servicers = build_servicers(
            store=store,
            feed=feed,
            inquiries=inquiries,
            settings=settings,
            clock=clock,
            metrics=metrics,
            streams=self._streams,
            tracing=tracing,
        )
        self._callers = _follow_callers(settings.grpc)
        self._tls = follow_tls(settings.grpc)
        self._boundary = Boundary(
            door=Door(callers=self._callers, clock=clock),
            caller_limits=CallerLimits(settings.grpc, clock=clock),
            calls_max=settings.grpc.calls_max,
            waiting_max=settings.grpc.watches_max,
            auditor=Auditor(audit=store.audit, clock=clock),
            clock=clock,
            metrics=metrics,
            tracing=tracing,
        )
        self._servicers: list[tuple[ServiceDescriptor, object]] = [
            (_TENANT, servicers.tenants),
            (_ROOM, servicers.rooms),
            (_BOOKING, servicers.bookings),
            (_WATCH, servicers.watch),
            (_AUDIT, servicers.audit),
            (_DIAGNOSTICS, servicers.diagnostics),
            (_TASK, servicers.tasks),
        ]
        self._handlers = [_build_handlers(self._boundary, *pair) for pair in self._servicers]
        self._health = LimitedHealth()
        self._server: grpc.aio.Server | None = None
        self._lock: SocketLock | None = None
        self._is_stopping = False

    @property
    def unusable_files_count(self) -> int:
        """How many of the files that say who may call are broken now, so that what they said before holds."""
        followed: tuple[FollowedFiles[Any] | None, ...] = (self._callers, self._tls)  # Any: of whatever they hold
        return sum(not files.is_usable for files in followed if files is not None)

    @property
    def stalled_watches_count(self) -> int:
        """How many watches have a reader that does not take what is sent."""
        return self._streams.stalled_count

    async def start(self) -> list[str]:
        """Listen and serve.

        Returns:
            Where: unix:<path>, and host:port with the ports that were given out where the settings say 0.
        Raises:
            SettingsInvalid: an address or the socket is taken or cannot be used.
        """
        server = grpc.aio.server(options=_options(self._settings.grpc))
        if self._tracing.is_on:
            server.add_generic_rpc_handlers([Arrivals()])  # first: it only looks
        server.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.grpc.reflection and self._settings.profile == "sidecar":
            names = [service.full_name for service, _ in self._servicers]
            reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        server.add_generic_rpc_handlers([_UnknownMethods(self._boundary)])  # last: handlers are asked in order
        try:
            addresses = self._listen(server)
            await server.start()
        except BaseException:
            await server.stop(None)
            self._release_socket()
            raise
        self._server = server
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return addresses

    def _listen(self, server: grpc.aio.Server) -> list[str]:
        settings = self._settings.grpc
        addresses: list[str] = []
        if settings.socket is not None:
            lock = SocketLock(settings.socket)
            lock.take()
            self._lock = lock
            with only_for(settings.socket_mode):
                _bind(server, f"unix:{settings.socket}", "grpc.socket")
            settings.socket.chmod(settings.socket_mode)
            addresses.append(f"unix:{settings.socket}")
        credentials = None
        if self._tls is not None:
            credentials = build_credentials(self._tls, asks_callers=settings.client_ca_file is not None)
        for address in settings.addresses:
            port = _bind(server, address, "grpc.addresses", credentials)
            addresses.append(f"{address.rpartition(':')[0]}:{port}")
        return addresses

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *(service.full_name for service, _ in self._servicers)):
            await self._health.set(name, status)

    async def wait_ended(self) -> None:
        """Return when the server ends because of `stop`.

        Raises:
            ApiEnded: it ended by itself. The process must not live on as if nothing had happened.
        """
        server = self._server
        assert server is not None, "start() comes first"
        await server.wait_for_termination()
        if not self._is_stopping:
            raise ApiEnded("the gRPC server ended by itself")

    async def drain(self) -> None:
        """Tell health checks that this server goes; calls are still served. The feed ends the watches."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float, *, quiet_s: float = 0.0) -> None:
        """Take new calls until they cease, refuse them then, wait for those under way, end what is left and stop listening.

        Watches are the feed's to end: drain it first.

        Args:
            grace_s: how long all of it may take, but for what is left.
            quiet_s: calls have ceased when none was under way for so long. They are refused after half of the grace in any
                case, so that the last ones have the other half.
        """
        self._is_stopping = True
        await self.drain()
        ends_s = self._clock.monotonic() + grace_s
        if self._server is not None and quiet_s > 0.0:
            await self._boundary.wait_quiet(quiet_s, grace_s / 2)
        self._boundary.refuse_calls()
        if self._server is not None:
            await self._boundary.wait_idle(ends_s - self._clock.monotonic())
            # Not the whole grace: it would be waited for as long as anybody watches the health service.
            await self._server.stop(_LAST_WORDS_S)
            self._server = None
        self._release_socket()

    def _release_socket(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _bind(
    server: grpc.aio.Server, address: str, setting: str, credentials: grpc.ServerCredentials | None = None
) -> int:
    try:
        port = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        raise SettingsInvalid("cannot listen", details={setting: f"{address} is taken or cannot be used"}) from error
    if port == 0:
        raise SettingsInvalid("cannot listen", details={setting: f"{address} is taken or cannot be used"})
    return port


class _UnknownMethods(grpc.GenericRpcHandler):
    """Answers every method, so it must be asked last."""

    def __init__(self, boundary: Boundary) -> None:
        # Of all kinds of method only this one does not wait for a request that may never come.
        self._handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(boundary.refuse_unknown)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler (Any: nothing is ever read or sent)."""
        return self._handler


def _build_handlers(boundary: Boundary, service: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
    """Find and wrap the handler of each RPC.

    Raises:
        LookupError: an RPC has none.
    """
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {method.name: _build_handler(boundary, service, method, servicer) for method in service.methods},
    )


def _build_handler(
    boundary: Boundary, service: ServiceDescriptor, method: MethodDescriptor, servicer: object
) -> grpc.RpcMethodHandler[Any, Any]:
    name = f"{service.name}/{method.name}"
    # Any: found by name, which is what the types of generated servicers would only repeat.
    handler: Callable[..., Any] | None = getattr(servicer, _snake(method.name), None)
    if handler is None:
        raise LookupError(f"{type(servicer).__name__} has no handler for {name}")
    if name not in SCOPES:
        raise LookupError(f"api/access.py does not say what {name} needs its caller to be allowed")
    pool = Pool.WATCHES if method.server_streaming else Pool.WAITING if name in _WAITING else Pool.CALLS
    rpc = Rpc(
        method=name,
        request_type=GetMessageClass(method.input_type),
        named_by=tuple(path for path in _NAMING_PATHS if _is_text(method.input_type, path)),
        naming=tuple(naming_paths(method.input_type)),
        pool=pool,
    )
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(boundary.streaming(rpc, handler))
    return grpc.unary_unary_rpc_method_handler(boundary.unary(rpc, handler))


def _is_text(message: Descriptor, path: str) -> bool:
    """Tell whether a path leads to a text."""
    name, _, rest = path.partition(".")
    field = message.fields_by_name.get(name)
    if field is None:
        return False
    if rest:
        return field.message_type is not None and _is_text(field.message_type, rest)
    return bool(field.type == FieldDescriptor.TYPE_STRING)  # `scope` is a text of tasks, and a number of bookings


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
