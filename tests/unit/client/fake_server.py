"""A small service on a real socket, scripted by the test, and clocks that never wait for real time."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from exchange_client import messages
from exchange_client.messages import (
    Checkpoint,
    StreamClosing,
    SyncStatus,
    WatchRoomResponse,
    WatchRoomsResponse,
)
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

PACKAGE = "ioffice.exchange.v1"
HANG = "hang"
"""In a script: say nothing more, but keep the stream open."""


@dataclass
class Fault:
    """In a script: end with this status."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after_s: float | None = None
    violations: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    domain: str = "exchange.ioffice.com"

    def status(self) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
        details: list[Message] = []
        if self.reason:
            details.append(error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata))
        if self.violations:
            named = [
                error_details_pb2.BadRequest.FieldViolation(field=name, description=text)
                for name, text in self.violations.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=named))
        if self.retry_after_s is not None:
            delay = Duration(nanos=round(self.retry_after_s * 1e9) % 10**9, seconds=int(self.retry_after_s))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(Packed())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=self.code.value[0], message="no luck", details=packed)
        return self.code, "no luck", (("grpc-status-details-bin", status.SerializeToString()),)


@dataclass
class FakeServer:
    """Answers calls by method name, watches by their script: one list of steps for each stream, the last one repeated.

    Attributes:
        answers: method name -> function of the request that gives the response, a Fault or HANG.
        streams: method name -> scripts; a step is a message, a Fault or HANG; the end of a script ends the stream well.
        requests: what was asked, by method name.
        headers: metadata of each call, in order.
        open_streams: watches under way.
    """

    answers: dict[str, Callable[[Any], object]] = field(default_factory=dict)  # Any: each its own request
    streams: dict[str, list[list[object]]] = field(default_factory=dict)
    requests: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))  # Any: as above
    headers: list[dict[str, str | bytes]] = field(default_factory=list)
    open_streams: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    _server: grpc.aio.Server | None = None

    async def start(self, target: str) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        for service, methods in METHODS.items():
            handlers = {name: self._handler(name, request) for name, request in methods.items()}
            generic = grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)
            self._server.add_generic_rpc_handlers((generic,))
        assert self._server.add_insecure_port(target)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def tokens(self, method: str = "WatchRoom") -> list[str]:
        """The resume tokens that the watches so far came with."""
        return [request.options.resume_token for request in self.requests[method]]

    def _handler(self, name: str, request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
        def write(message: Message) -> bytes:
            return message.SerializeToString()

        if name in ("WatchRoom", "WatchRooms", "WatchTaskRun"):
            return grpc.unary_stream_rpc_method_handler(
                self._watch(name), request_deserializer=request.FromString, response_serializer=write
            )
        return grpc.unary_unary_rpc_method_handler(
            self._answer(name), request_deserializer=request.FromString, response_serializer=write
        )

    def _note(self, name: str, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.requests[name].append(request)
        self.headers.append({str(key): value for key, value in context.invocation_metadata() or ()})

    def _answer(self, name: str) -> Callable[..., Awaitable[Message]]:
        async def answer(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            self._note(name, request, context)
            result = self.answers[name](request)
            if isinstance(result, Fault):
                await context.abort(*result.status())
            if result is HANG:
                await asyncio.Event().wait()
            assert isinstance(result, Message)
            return result

        return answer

    def _watch(self, name: str) -> Callable[..., AsyncIterator[Message]]:
        async def watch(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
            self._note(name, request, context)
            scripts = self.streams[name]
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
            self.open_streams += 1
            self.idle.clear()
            try:
                for step in script:
                    if isinstance(step, Fault):
                        await context.abort(*step.status())
                    elif step is HANG:
                        await asyncio.Event().wait()
                    else:
                        assert isinstance(step, Message)
                        yield step
            finally:
                self.open_streams -= 1
                if not self.open_streams:
                    self.idle.set()

        return watch


def checkpoint(token: str = "") -> WatchRoomResponse:
    return WatchRoomResponse(resume_token=token, checkpoint=Checkpoint(sync=SyncStatus()))


def rooms_checkpoint(token: str = "") -> WatchRoomsResponse:
    return WatchRoomsResponse(resume_token=token, checkpoint=Checkpoint(sync=SyncStatus()))


def closing(reason: StreamClosing.Reason.ValueType, retry_after_s: int = 0, token: str = "") -> WatchRoomResponse:
    farewell = StreamClosing(reason=reason, retry_after=Duration(seconds=retry_after_s))
    return WatchRoomResponse(resume_token=token, closing=farewell)


@dataclass
class FakeClock:
    """For the async client: pauses pass at once and are noted; a watchdog fires when the test says so."""

    watchdog_s: float = 45.0
    pauses: list[float] = field(default_factory=list)
    guards: list[asyncio.Timeout] = field(default_factory=list)
    hold: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def monotonic(self) -> float:
        return 1000.0 + sum(self.pauses)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        if seconds == self.watchdog_s:
            self.guards.append(asyncio.timeout(None))
            return self.guards[-1]
        self.pauses.append(seconds)
        self.held.set()
        return asyncio.timeout(None if self.hold else 0)

    def fire(self) -> None:
        self.guards[-1].reschedule(asyncio.get_running_loop().time())


@dataclass
class FakeSyncClock:
    """For the sync client: the same, with the watchdog's thread waiting for `fire`."""

    watchdog_s: float = 45.0
    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)
    fire: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    held: threading.Event = field(default_factory=threading.Event)

    def monotonic(self) -> float:
        return self.now + sum(self.pauses)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if threading.current_thread().name != "exchange-client-watchdog":
            self.pauses.append(seconds)
            self.held.set()
            return event.wait() if self.hold else event.is_set()
        while not event.wait(0.005):
            if self.fire.is_set():
                self.fire.clear()
                self.now += seconds
                return False
        return True


def _methods(*names: str) -> dict[str, type[Message]]:
    return {name: getattr(messages, f"{name}Request") for name in names}


METHODS = {
    "TenantService": _methods("RegisterTenant", "GetTenant", "ListTenants", "UpdateTenant", "DeleteTenant"),
    "RoomService": _methods(
        "MapRoom", "BatchMapRooms", "GetRoom", "ListRooms", "UnmapRoom", "ResyncRoom", "UpdateRoom", "DiscoverRooms"
    ),
    "BookingService": _methods(
        *("ListBookings", "GetBooking", "FindAvailability"),
        *("CreateBooking", "UpdateBooking", "CancelBooking", "CheckIn", "ReleaseBooking"),
    ),
    "WatchService": _methods("WatchRoom", "WatchRooms", "ReadChanges"),
    "TaskService": _methods(
        *("ListTasks", "ListDueLanes", "DrainLane", "RunTask", "GetTaskRun", "ListTaskRuns", "WatchTaskRun")
    ),
}
